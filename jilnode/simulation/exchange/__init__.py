"""Markets in the simulated fleet: who trades, and what must hold of every book, on every node."""
