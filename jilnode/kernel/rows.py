"""Rows: what a module's state is made of.

A row is a frozen msgspec Struct. ``Owned`` rows are replicated; ``Local`` rows never leave this node. A row does not
hold its own key; the key is where it lives. It is encoded once (``codec.encode_row``), and the same bytes go into the
table, the event and onto the wire.
"""

import msgspec

__all__ = ("Local", "Owned", "Row")


class Owned(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A replicated row: only its owner's writer may change it."""


class Local(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A row that never leaves this node: personal data, sessions, the kernel's own bookkeeping."""


Row = Owned | Local
