"""The exchange in the simulated fleet: who uses it, and what must hold of every book, desk and pool, on every node."""
