"""A journal with what few have: a section of its own for free text, a verdict, a changed key, a second epoch."""

import contextlib

import msgspec

from jilnode.kernel.codec import decode_row
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.review import Action, Verdict
from jilnode.kernel.seal import SealKey
from jilnode.kernel.state import Context, State
from jilnode.kernel.system import DECISIONS, Decision
from jilnode.module import Command, CreatedBy, Module, Owned, Rejected, Table
from jilnode.stores.memory import MemoryStore
from tests.kit.node import TestNode, running

__all__ = ("SECOND_KEY", "Epochs", "make_epochs")

SECOND_KEY = SealKey.from_seed(b"the second key of the vectors...")


class Letter(Owned, frozen=True):
    text: str


class Write(msgspec.Struct, frozen=True):
    text: str


LETTERS = Table("post.letter", Letter, CreatedBy(), write_once=True, section="memo")


def _write(state: State, context: Context, command: Write) -> None:
    state[LETTERS].insert(context.new_key(), Letter(command.text))


def _review(state: State, context: Context, command: Write) -> Action:
    return Action("post.letter", ("XX_DEV",), {"text": command.text})


POST = Module(
    "post",
    1,
    tables=(LETTERS,),
    commands=(Command(Write, "post.letter.written", _write, lambda rows: rows.one(LETTERS)[0], review=_review),),
)


class _Censor:
    """A zone that keeps a record of each verdict, and lets nobody shout."""

    def review(self, action: Action, time_us: int) -> Verdict:
        if str(action.facts["text"]).isupper():
            return Verdict(False, "too_loud", "Nobody shouts here.", b'{"rule":"no_shouting"}')
        return Verdict(True, record=b'{"rule":"no_shouting"}')

    def facts(self) -> dict[str, object]:
        return {}


class Epochs(msgspec.Struct):
    """What each of the epochs says, and the records of the verdicts, which stay at the node."""

    journals: list[tuple[list[Entry], list[Seal]]]
    public_keys: list[str]
    """In the order in which they sealed."""
    decisions: list[str]
    state_digest: str


async def make_epochs() -> Epochs:
    node = TestNode("ch-zug-01", [POST], zones=_Censor())
    async with running(node):
        await node.run(Write("Dear Ägidius"), key="first", body=b'{"text":"Dear \xc3\x84gidius"}')
        with contextlib.suppress(Rejected):
            await node.run(Write("HELLO"), key="second", body=b'{"text":"HELLO"}')
        await node.writer.rotate_key(SECOND_KEY)
        first = await node.journal()
    again = TestNode("ch-zug-01", [POST], zones=_Censor(), store=MemoryStore(node.disk), clock=node.clock)
    again.engine.key = SECOND_KEY
    for _ in range(100):
        # So many that no salt of the first epoch comes again.
        again.engine.entropy.bytes(1)
    await again.kernel.start()
    await again.kernel.begin_epoch()
    again.kernel.run()
    again.kernel.allow_writes()
    again.clock.advance(31)
    await again.run(Write("Yours"))
    second = await again.journal()
    await again.kernel.close()
    records = [node.disk.document(DECISIONS, row) or b"" for row in node.disk.tables[DECISIONS.name].rows.values()]
    return Epochs(
        [first, second],
        [node.key.public_key.hex(), SECOND_KEY.public_key.hex()],
        [decode_row(record, Decision).record for record in records],
        f"{again.engine.own.digest:064x}",
    )
