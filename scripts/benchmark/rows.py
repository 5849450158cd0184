"""A line of the result."""

import statistics
from typing import Any

__all__ = ("Row", "at", "row", "text")

Row = dict[str, Any]
"""name, value, unit, reference, ratio, spread: the value is the median, the spread [least, greatest]."""


def row(name: str, values: list[float], unit: str, against: str = "", base: list[float] | None = None) -> Row:
    value = statistics.median(values)
    ratio = value / statistics.median(base) if base else None
    return {
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "reference": against or None,
        "ratio": None if ratio is None else round(ratio, 2),
        "spread": [round(min(values), 2), round(max(values), 2)],
    }


def at(times: list[float], place: float) -> float:
    """Of sorted ``times`` the one at ``place``: 0.5 is the median, 0.99 p99."""
    return times[min(len(times) - 1, int(len(times) * place))]


def text(item: Row) -> str:
    against = f"{item['ratio']:>8.2f} x {item['reference']}" if item["ratio"] is not None else ""
    return f"{item['name']:<34} {item['value']:>12,.2f} {item['unit']:<14} {against}"
