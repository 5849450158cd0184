"""Kills a node again and again while clients move money, and compares what it answered with what it has."""
