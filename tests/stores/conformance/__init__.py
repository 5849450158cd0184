"""What every store does alike. Each test runs on memory, SQLite and PostgreSQL."""
