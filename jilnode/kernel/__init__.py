"""The kernel: rows, tables, commands, the writer, the journal. ``README.md`` in this folder is its contract."""
