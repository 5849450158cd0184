"""Metrics in the Prometheus text format: a small registry, because an observation must cost less than a microsecond.

Names follow the convention: unit last, ``_total`` on counters. A label value is never a person's or a token's.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

__all__ = ("LATENCY_BUCKETS_S", "SIZE_BUCKETS", "Counter", "Histogram", "Metrics")

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZE_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

Labels = tuple[tuple[str, str], ...]


class Counter:
    """``add`` from the loop only."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1) -> None:
        self.value += amount


class Histogram:
    """Fixed upper bounds; the last bucket is infinity."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class _Family:
    __slots__ = ("description", "gauges", "kind", "series")

    def __init__(self, kind: str, description: str) -> None:
        self.kind = kind
        self.description = description
        self.series: dict[Labels, Counter | Histogram] = {}
        self.gauges: list[Callable[[], Mapping[Labels, float]]] = []


class Metrics:
    """Hand out counters and histograms once, keep them, and use them on the hot path."""

    def __init__(self) -> None:
        self._families: dict[str, _Family] = {}

    def counter(self, name: str, description: str, **labels: str) -> Counter:
        found = self._family(name, "counter", description).series.setdefault(_labels(labels), Counter())
        assert isinstance(found, Counter)
        return found

    def histogram(
        self, name: str, description: str, bounds: Sequence[float] = LATENCY_BUCKETS_S, **labels: str
    ) -> Histogram:
        found = self._family(name, "histogram", description).series.setdefault(_labels(labels), Histogram(bounds))
        assert isinstance(found, Histogram)
        return found

    def gauge(self, name: str, description: str, read: Callable[[], float], **labels: str) -> None:
        """``read`` is called at each scrape."""
        key = _labels(labels)
        self._family(name, "gauge", description).gauges.append(lambda: {key: read()})

    def counting(self, name: str, description: str, read: Callable[[], float]) -> None:
        """A counter that somebody else keeps; ``read`` is called at each scrape."""
        self._family(name, "counter", description).gauges.append(lambda: {(): read()})

    def gauges(self, name: str, description: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """One gauge for each value of ``label`` (a source, a bus), read at each scrape."""
        self._family(name, "gauge", description).gauges.append(
            lambda: {((label, value),): number for value, number in read().items()}
        )

    def text(self) -> bytes:
        lines: list[str] = []
        for name, family in sorted(self._families.items()):
            lines += (f"# HELP {name} {family.description}", f"# TYPE {name} {family.kind}")
            for labels, series in family.series.items():
                if isinstance(series, Counter):
                    lines.append(f"{name}{_braces(labels)} {_number(series.value)}")
                else:
                    lines += _histogram_lines(name, labels, series)
            for read in family.gauges:
                lines += [f"{name}{_braces(labels)} {_number(value)}" for labels, value in read().items()]
        return ("\n".join(lines) + "\n").encode()

    def _family(self, name: str, kind: str, description: str) -> _Family:
        family = self._families.setdefault(name, _Family(kind, description))
        if family.kind != kind:
            raise ValueError(f"metric {name} is a {family.kind}, not a {kind}")
        return family


def _histogram_lines(name: str, labels: Labels, histogram: Histogram) -> list[str]:
    lines = []
    running = 0
    for bound, count in zip((*map(_number, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        running += count
        lines.append(f"{name}_bucket{_braces((*labels, ('le', bound)))} {running}")
    lines.append(f"{name}_sum{_braces(labels)} {_number(histogram.total)}")
    lines.append(f"{name}_count{_braces(labels)} {running}")
    return lines


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _braces(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return repr(int(value)) if value == int(value) else repr(value)
