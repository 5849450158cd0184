"""Amounts as clients write them: of every asset, one whole is ten thousand minor units."""

__all__ = ("UNITS", "text_of", "units_of")

UNITS = 10_000


def text_of(units: int) -> str:
    return f"{units // UNITS}.{units % UNITS:04}"


def units_of(text: str) -> int:
    whole, _, decimals = text.partition(".")
    return int(whole) * UNITS + int(decimals.ljust(4, "0"))
