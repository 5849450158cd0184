"""Pages of lists: where one begins, and how it names where the next one does.

A cursor is a key in base64url, so every key has its own. An id is no cursor: it has ``~`` for ``/``, and a key may hold
a ``~`` of its own, behind which the list would begin somewhere else, again and again.
"""

from base64 import b64decode, urlsafe_b64encode

from jilnode.kernel.names import valid_new_key
from jilnode.kernel.ports import Page
from jilnode.limits import PAGE_ITEMS_MAX
from jilnode.module import Rejected

__all__ = ("cursor_of", "next_of", "start_of")


def start_of(cursor: str, limit: int) -> str | None:
    """The key after which a page begins; None for the first. Raises ``Rejected`` for a page that can't be."""
    if not 1 <= limit <= PAGE_ITEMS_MAX:
        raise Rejected("bad_request", f"a page has 1 to {PAGE_ITEMS_MAX} items", status=400, field="/limit")
    if not cursor:
        return None
    try:
        key = b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except ValueError:
        key = ""
    if not valid_new_key(key) or cursor_of(key) != cursor:
        raise Rejected("bad_request", "after is the cursor of the page before", status=400, field="/after")
    return key


def cursor_of(key: str) -> str:
    return urlsafe_b64encode(key.encode()).decode().rstrip("=")


def next_of(page: Page) -> str | None:
    """The next page's cursor; None after the last."""
    return cursor_of(page.items[-1][0]) if page.more else None
