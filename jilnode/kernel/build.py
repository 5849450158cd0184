"""How this node runs: its decisions as they are written, or compiled from the same source (``scripts/compile``)."""

from pathlib import Path

from jilnode.kernel import engine

__all__ = ("BUILD",)

BUILD = "plain" if Path(engine.__file__).suffix == ".py" else "compiled"
