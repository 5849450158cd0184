"""The stores: one conformance suite over all of them, and what only one of them has."""
