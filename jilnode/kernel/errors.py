"""What can go wrong, as types.

Exception
  Rejected          the world asked for something it can't have: becomes an RFC 9457 problem
  Breach            a foreign entry breaks a rule: its source is suspended, with evidence
    Unproven        ... but its source did not sign it: refused, and nobody is accused
  Parked            a foreign entry rests on something not here yet: its source waits, nobody is accused
  CommitFailed      the store says: nothing of this batch is durable
    CommitRefused   ... and it never will be: the batch holds what this database can't take
  CommitUnknown     the store can't say; the writer must find out before it does anything else
  LockLost          another process may write this database: stop
  WrongDatabase     another node's, a newer one's, or one that could lose data
  InvariantBroken   our own bug: a command would have committed something that its module forbids
BaseException
  Missing           kernel-internal: a row is not in memory; undo, load, run again
"""

from collections.abc import Mapping

__all__ = (
    "Breach",
    "CommitFailed",
    "CommitRefused",
    "CommitUnknown",
    "InvariantBroken",
    "LockLost",
    "Missing",
    "Parked",
    "Rejected",
    "Unproven",
    "WrongDatabase",
)


class Rejected(Exception):
    """A command or query is refused. ``code`` is stable and listed in ``jilnode/http/problems.py``.

    ``field`` is a JSON pointer into the request; ``extra`` becomes members of the problem; ``retry_after_s`` marks a
    refusal that is not final, so that it uses up no idempotency key. ``follow_up`` is a command that the writer runs as
    its own right after this one was undone (asking another node for what is lacking); with ``wait_s`` the caller waits
    that long at most, and the command is tried again whenever another node's entries were applied, before it is
    refused. ``replayed``: it was given before, to the same idempotency key.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int = 422,
        field: str | None = None,
        retry_after_s: int | None = None,
        extra: Mapping[str, object] | None = None,
        follow_up: object | None = None,
        wait_s: float = 0,
        replayed: bool = False,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.replayed = replayed
        self.follow_up = follow_up
        self.wait_s = wait_s
        self.status = status
        self.field = field
        self.retry_after_s = retry_after_s
        self.extra = dict(extra or {})

    @property
    def final(self) -> bool:
        """Whether a retry with the same key would be answered the same."""
        return self.retry_after_s is None and self.status not in (421, 429, 503)


class Breach(Exception):
    """``code`` says which rule: ``forged_source``, ``replayed``, ``gap``, ``bad_seal``, ``foreign_row``, ..."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Unproven(Breach):
    """What was sent in a source's name is wrong, but the source did not sign it: anybody who can write to the bus could
    have sent it. It is refused and kept as evidence; nobody is accused, and the source is followed on."""


class Parked(Exception):
    """``code`` is ``cause_disputed``, ``cause_not_applied``, ``epoch_not_ended``, ``min_reader``, ``module_unknown``,
    ``not_judged``, ``not_started``, ``not_stored``, ``out_of_step``, ``resident_full`` or ``untrusted``."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class CommitFailed(Exception):
    """Known: nothing of the batch is in the database."""


class CommitRefused(CommitFailed):
    """A row is there already or not at all, a value is too long: it is the batch, whatever else the database can."""


class CommitUnknown(Exception):
    """The connection died around COMMIT. Only the database's own tail can tell."""


class LockLost(Exception):
    """The writer's lock is gone."""


class WrongDatabase(Exception):
    """This database must not be written by this node. The message says why and what to do."""


class InvariantBroken(Exception):
    def __init__(self, module: str, detail: str) -> None:
        super().__init__(f"{module}: {detail}")
        self.module = module
        self.detail = detail


class Missing(BaseException):
    """Something a handler asked for is not in memory. A ``BaseException``, so that no handler swallows it."""

    def __init__(self, want: object) -> None:
        super().__init__(want)
        self.want = want
