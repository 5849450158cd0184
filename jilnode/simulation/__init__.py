"""Deterministic simulation: real nodes, driven step by step from a seed. ``README.md`` says how to use it."""

from jilnode.simulation.run import Report, simulate

__all__ = ("Report", "simulate")
