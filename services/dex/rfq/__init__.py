"""Requests for quotes: a taker asks, makers answer with firm, funded quotes, the taker accepts one."""
