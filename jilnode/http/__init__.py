"""The HTTP side of a node: no business logic. See README.md in this folder."""
