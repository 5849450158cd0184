"""Pools: constant-product market makers."""
