"""Service modules."""
