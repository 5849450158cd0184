"""Idempotency: which Idempotency-Keys were used, and what their answers were.

A success, and a refusal by a zone, is an entry: its header carries the key's hash, and its rows rebuild the answer. It
answers for this node if it is this node's own, or of the node that the submission's session names: key hashes are seen
by everybody, so any other source may have copied one.
Other final refusals are local rows, kept a day under a bound. What is not of the batch in flight is asked of the
database, once for each batch.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from jilnode.kernel.codec import decode_header, decode_row, encode_row
from jilnode.kernel.command import Submission
from jilnode.kernel.entry import Entry
from jilnode.kernel.entry_rows import EntryRows
from jilnode.kernel.errors import Missing, Rejected
from jilnode.kernel.ports import Commit, RowWrite, Wanted
from jilnode.kernel.registry import Registry
from jilnode.kernel.system import REFUSALS, REFUSED_KEYS, RefusedKey
from jilnode.limits import REFUSAL_KEPT_HOURS, REFUSALS_MAX

if TYPE_CHECKING:
    from typing import Any

__all__ = ("Answer", "KnownKeys")

_KEPT_US = REFUSAL_KEPT_HOURS * 3600 * 1_000_000


class Answer(msgspec.Struct, frozen=True):
    """What a caller hears after the commit. ``finality`` is ``local``: durable on this node."""

    status: int
    reply: "Any"
    source: str
    epoch: int
    sequence: int
    replayed: bool = False
    finality: str = "local"


class KnownKeys:
    def __init__(self, source: str, registry: Registry) -> None:
        self._source = source
        self._registry = registry
        self._moments: OrderedDict[bytes, int] = OrderedDict()
        """When each refused key of the database was refused, oldest first."""
        self._entries: dict[tuple[str, bytes], Entry | None] = {}
        """(source, key) -> of this batch, and what was looked up for it; None: the source has no entry with this
        key."""
        self._refused: dict[bytes, RefusedKey] = {}
        self._new_refused: set[bytes] = set()
        self._forgotten: list[bytes] = []

    @property
    def changed(self) -> bool:
        return bool(self._new_refused)

    def load_refused(self, moments: dict[str, int]) -> None:
        for key, moment in sorted(moments.items(), key=lambda item: item[1]):
            self._moments[bytes.fromhex(key)] = moment

    def needed(self, submission: Submission, wanted: Wanted) -> None:
        """Adds what ``answer`` is known to need of the journal."""
        key_hash = submission.key_hash
        if key_hash is None or key_hash in self._moments:
            return
        for place in self._places(key_hash, submission.session):
            if place not in self._entries:
                wanted.commands.add(place)

    def _places(self, key_hash: bytes, session: str) -> list[tuple[str, bytes]]:
        """Whose entries count, this node's own first."""
        own = (self._source, key_hash)
        return [own] if session in ("", self._source) else [own, (session, key_hash)]

    def provide(self, commands: dict[tuple[str, bytes], Entry | None]) -> None:
        for place, entry in commands.items():
            self._entries.setdefault(place, entry)

    def provide_refused(self, key: str, doc: bytes) -> None:
        self._refused[bytes.fromhex(key)] = decode_row(doc, RefusedKey)

    def answer(self, submission: Submission) -> Answer | None:
        """The answer given before, or None when this key was never used. Raises ``Rejected`` (the refusal given before,
        or ``idempotency_key_reused``), ``Missing``."""
        key_hash = submission.key_hash
        assert key_hash is not None
        if key_hash in self._moments:
            refused = self._refused.get(key_hash)
            if refused is None:
                raise Missing(Wanted(rows={REFUSED_KEYS: {key_hash.hex()}}))
            if (submission.body_hash or b"").hex() != refused.body_hash:
                raise _reused()
            raise Rejected(
                refused.code,
                refused.detail,
                status=refused.status,
                field=refused.field,
                extra=refused.extra,
                replayed=True,
            )
        for place in self._places(key_hash, submission.session):
            if place not in self._entries:
                raise Missing(Wanted(commands={place}))
            entry = self._entries[place]
            if entry is not None:
                return self._replay(submission, entry)
        return None

    def _replay(self, submission: Submission, entry: Entry) -> Answer:
        header = decode_header(entry.header)
        assert header.command is not None
        if (submission.body_hash or b"").hex() != header.command.body_hash:
            raise _reused()
        rows = EntryRows.of(entry)
        if header.type.endswith(".command.refused"):
            _, refusal = rows.one(REFUSALS)
            raise Rejected(refusal.code, refusal.detail, status=header.command.status, replayed=True)
        spec = self._registry.events.get(header.type)
        if spec is None:
            raise Rejected("unknown_command", f"no module here knows {header.type}", status=503, retry_after_s=60)
        return Answer(header.command.status, spec.reply(rows), entry.source, entry.epoch, entry.sequence, replayed=True)

    def remember(self, key_hash: bytes, entry: Entry) -> None:
        """One that this node has just made."""
        self._entries[self._source, key_hash] = entry

    def refuse(self, submission: Submission, rejected: Rejected, time_us: int) -> None:
        key_hash = submission.key_hash
        assert key_hash is not None
        self._moments[key_hash] = time_us
        self._refused[key_hash] = RefusedKey(
            (submission.body_hash or b"").hex(),
            rejected.code,
            rejected.detail,
            rejected.status,
            time_us,
            rejected.field,
            rejected.extra,
        )
        self._new_refused.add(key_hash)

    def fill(self, commit: Commit, now_us: int) -> None:
        """Adds this batch's refusals, and the deletion of the oldest ones beyond a day or the bound."""
        if self._new_refused:
            commit.writes[REFUSED_KEYS] = [
                RowWrite(key.hex(), self._source, 0, 0, encode_row(row), (row.at_us,))
                for key in sorted(self._new_refused)
                for row in (self._refused[key],)
            ]
        spare = len(self._moments) - REFUSALS_MAX
        for key, moment in self._moments.items():
            if (spare <= 0 and moment >= now_us - _KEPT_US) or key in self._new_refused:
                break
            self._forgotten.append(key)
            spare -= 1
        if self._forgotten:
            commit.deletes[REFUSED_KEYS] = [key.hex() for key in self._forgotten]

    def confirm(self) -> None:
        for key in self._forgotten:
            del self._moments[key]
        self._clear()

    def abandon(self) -> None:
        for key in self._new_refused:
            del self._moments[key]
        self._clear()

    def _clear(self) -> None:
        self._entries.clear()
        self._refused.clear()
        self._new_refused.clear()
        self._forgotten.clear()


def _reused() -> Rejected:
    return Rejected("idempotency_key_reused", "this Idempotency-Key was used with another request", status=409)
