"""Where a page ends."""

from collections.abc import Sequence

__all__ = ("page_end",)


def page_end(keys: Sequence[str], limit: int) -> int:
    """How many of these ordered keys make a page of ``limit``: one that several tables have is not cut in two, because
    the next page begins after a key."""
    end = min(limit, len(keys))
    while 0 < end < len(keys) and keys[end] == keys[end - 1]:
        end += 1
    return end
