"""The stores: where a node's journal, seals and tables are kept. ``README.md`` tells how."""
