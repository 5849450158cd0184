"""Zones: the rules of each jurisdiction. The development zone allows all, and exists in dev mode only."""
