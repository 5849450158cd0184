"""What a check says when a property does not hold; and an entry's rows, as all checks read them."""

__all__ = ("Finding", "SectionRows")

SectionRows = list[tuple[str, str, bytes | None]]
"""(table, key, document) of each row of an entry; a document of None deletes."""


class Finding(Exception):
    """A property that does not hold. The message says which, and where."""
