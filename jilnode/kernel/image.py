"""A row as it stands, with the entry that wrote it.

No Struct, since those can't be compiled: a field of a compiled class is read at once, one of a Struct is looked up by
its name. What an image refers to never refers back (``acyclic``), so the garbage collector of a compiled node has
nothing to do with them, and there are as many as rows.
"""

from mypy_extensions import mypyc_attr

from jilnode.kernel.rows import Row

__all__ = ("Image",)


@mypyc_attr(acyclic=True)
class Image:
    """``(owner, epoch, sequence)`` of the entry that last changed the row is its ETag.

    Never changed once its command has ended; until then ``doc`` is empty, because a row is encoded once. ``mark`` is
    the row's summand in the state digest, 0 until it is asked for.
    """

    __slots__ = ("doc", "epoch", "mark", "owner", "row", "sequence")

    def __init__(self, row: Row, owner: str, epoch: int, sequence: int, doc: bytes) -> None:
        self.row = row
        self.owner = owner
        self.epoch = epoch
        self.sequence = sequence
        self.doc = doc
        self.mark = 0
