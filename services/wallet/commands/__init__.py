"""What the wallet's commands do, one noun a file."""
