"""Rows under keys that others made: each has one node that may write it, for ever, whatever is heard first."""

import asyncio
from typing import Any

import msgspec
import pytest

from jilnode.kernel.errors import Breach, CommitFailed, Rejected
from jilnode.kernel.image import Image
from jilnode.kernel.state import Context, State
from jilnode.limits import COMMAND_RERUNS_MAX
from jilnode.module import Command, CreatedBy, DerivedFrom, EndsWithOwner, Module, Owned, SumIndex, Table
from jilnode.stores.memory import Fate, MemoryStore
from tests.kit.follower import converged
from tests.kit.node import TestNode, running

ASKER, ASKED, THIRD = "ae-fsra-01", "ch-zug-01", "sg-mas-01"
KEY = f"{ASKER}/q"


class Question(Owned, frozen=True):
    to: str
    about: str = "weather"


class Reply(Owned, frozen=True):
    text: str


QUESTIONS = Table("quiz.question", Question, CreatedBy(), write_once=True, searchable=("to",))
REPLIES = Table("quiz.reply", Reply, DerivedFrom(QUESTIONS, lambda row: row.to))
ROOMS = Table("quiz.room", Reply, CreatedBy())
DOORS = Table("quiz.door", Reply, DerivedFrom(ROOMS))


class Gift(Owned, frozen=True):
    to: str
    amount: int


GIFTS = Table(
    "quiz.gift",
    Gift,
    CreatedBy(),
    write_once=True,
    searchable=("to", "amount"),
    indexes=(SumIndex("got", "to", "amount"),),
)


class Write(msgspec.Struct, frozen=True):
    """Writes a row as it is, past every check of the kernel; None deletes it."""

    table: Table[Any]
    key: str
    row: Owned | None
    rests_on: str = ""


def _write(state: State, context: Context, command: Write) -> None:
    cache = next(cache for table, cache in state.tables.items() if table.name == command.table.name)
    if command.rests_on:
        state[QUESTIONS].rest_on(command.rests_on)
    before = cache.get(command.key)
    image = None if command.row is None else Image(command.row, state.source, state.epoch, state.sequence, b"")
    state.log.append((cache, command.key, before))
    cache.set(command.key, before, image)


COMMANDS = (Command(Write, "quiz.row.written", _write, lambda rows: None),)
MODULE = Module("quiz", 1, tables=(QUESTIONS, REPLIES, ROOMS, DOORS, GIFTS), commands=COMMANDS)
FICKLE = Module(
    "quiz",
    1,
    tables=(Table(QUESTIONS.name, Question), Table(REPLIES.name, Reply), ROOMS, DOORS, GIFTS),
    commands=COMMANDS,
)
"""As it is at a node that lets its own rows change."""


class Quiz:
    """One asks and another answers; the third has heard nothing yet."""

    def __init__(self) -> None:
        self.asker = TestNode(ASKER, [FICKLE])
        self.asked, self.third = TestNode(ASKED, [MODULE]), TestNode(THIRD, [MODULE])
        self.nodes = (self.asker, self.asked, self.third)

    async def ask(self) -> None:
        await self.asker.run(Write(QUESTIONS, KEY, Question(ASKED)))
        await self.asked.follow(self.asker)

    async def answer(self) -> None:
        await self.asked.run(Write(REPLIES, KEY, Reply("fine"), rests_on=KEY))


LIES = {
    "answers it itself": (Write(REPLIES, KEY, Reply("bad")), "foreign_row"),
    "asks somebody else": (Write(QUESTIONS, KEY, Question(THIRD)), "rewritten"),
    "takes it back": (Write(QUESTIONS, KEY, None), "bad_row"),
}


@pytest.mark.parametrize("name", LIES)
async def test_who_answered_is_accused_by_nobody_whatever_the_asker_does_then(name):
    """The third hears the asker first. What is written twice fails one commit; then it is looked up, and refused."""
    lie, code = LIES[name]
    quiz = Quiz()
    async with running(*quiz.nodes):
        await quiz.ask()
        await quiz.answer()
        await quiz.asker.run(lie)
        with pytest.raises((Breach, CommitFailed)):
            await quiz.third.follow(quiz.asker)
        with pytest.raises(Breach, match=code):
            await quiz.third.follow(quiz.asker)
        await quiz.third.follow(quiz.asked)
        assert quiz.third.disk.tables[REPLIES.name].rows[KEY].owner == ASKED


async def test_what_was_asked_is_there_still_when_a_lie_about_it_was_undone():
    """The lie is refused for another row of its group, before anybody has looked whether the question was there."""
    quiz = Quiz()
    async with running(*quiz.nodes):
        await quiz.ask()
        await quiz.answer()
        await quiz.third.follow(quiz.asker)
        lies = (LIES["asks somebody else"][0], Write(ROOMS, f"{ASKED}/r", Reply("")))
        await asyncio.gather(*[quiz.asker.run(lie) for lie in lies])
        with pytest.raises(Breach, match="foreign_row"):
            await quiz.third.follow(quiz.asker)
        await quiz.third.follow(quiz.asked)
        assert KEY in quiz.third.disk.tables[REPLIES.name].rows


async def test_an_answer_is_under_the_key_of_what_was_asked_and_no_other():
    quiz = Quiz()
    async with running(*quiz.nodes):
        await quiz.ask()
        await quiz.asked.run(Write(REPLIES, f"{KEY}/more", Reply("fine"), rests_on=KEY))
        await quiz.third.follow(quiz.asker)
        with pytest.raises(Breach, match="foreign_row"):
            await quiz.third.follow(quiz.asked)


async def test_parts_of_a_row_are_its_owner_s():
    quiz = Quiz()
    async with running(*quiz.nodes):
        await quiz.asker.run(Write(ROOMS, f"{ASKER}/r", Reply("")))
        await quiz.asker.run(Write(DOORS, f"{ASKER}/r/1", Reply("")))
        await quiz.third.follow(quiz.asker)
        await quiz.asked.follow(quiz.asker)
        await quiz.asked.run(Write(DOORS, f"{ASKER}/r/2", Reply("")))
        with pytest.raises(Breach, match="foreign_row"):
            await quiz.third.follow(quiz.asked)


async def test_who_looked_for_a_question_before_it_came_finds_it_then():
    """Somebody answered before anything was asked. That there was no question is remembered by an older generation of
    the cache, and a row that is written once leaves it when it is committed."""
    quiz = Quiz()
    async with running(*quiz.nodes):
        early = TestNode("gb-lon-01", [MODULE])
        async with running(early):
            await early.run(Write(REPLIES, KEY, Reply("early")))
            with pytest.raises(Breach, match="foreign_row"):
                await quiz.third.follow(early)
        quiz.third.engine.caches[QUESTIONS].forget_old_generation()
        await quiz.ask()
        await quiz.answer()
        await quiz.third.follow(quiz.asker)
        await quiz.third.follow(quiz.asked)
        assert KEY in quiz.third.disk.tables[REPLIES.name].rows


def test_what_is_answered_can_t_be_declared_as_something_that_changes():
    changing = Table("quiz.changing", Question, CreatedBy())
    with pytest.raises(AssertionError, match="written once"):
        Table("quiz.answer", Reply, DerivedFrom(changing, lambda row: row.to))
    shared = Table("quiz.shared", Reply, EndsWithOwner())
    with pytest.raises(AssertionError, match="begin with its owner"):
        Table("quiz.part", Reply, DerivedFrom(shared))


async def test_what_is_written_once_is_added_up_like_anything_else():
    one = TestNode(ASKER, [MODULE])
    fates: list[Fate] = []
    one.store = one.kernel.store = one.writer.store = MemoryStore(
        one.disk, fate=lambda commit: fates.pop() if fates else Fate.DURABLE
    )
    async with running(one):
        for key, amount in (("a", 3), ("b", 4)):
            await one.run(Write(GIFTS, f"{ASKER}/{key}", Gift(THIRD, amount)))
            assert await one.writer.query(lambda view: view[GIFTS].total("got", THIRD)) == (3 if key == "a" else 7)
        fates.append(Fate.LOST)
        with pytest.raises(Rejected, match="commit_failed"):
            await one.run(Write(GIFTS, f"{ASKER}/c", Gift(THIRD, 5)))
        assert await one.writer.query(lambda view: view[GIFTS].total("got", THIRD)) == 7


async def test_what_many_answers_of_one_commit_answer_is_looked_up_at_once():
    asker, asked, third = nodes = [TestNode(source, [MODULE]) for source in (ASKER, ASKED, THIRD)]
    count = COMMAND_RERUNS_MAX + 10
    async with running(*nodes):
        keys = [f"{ASKER}/q{number}" for number in range(count)]
        await asyncio.gather(*[asker.run(Write(QUESTIONS, key, Question(ASKED))) for key in keys])
        await asked.follow(asker)
        await asyncio.gather(*[asked.run(Write(REPLIES, key, Reply("fine"), key)) for key in keys])
        await third.follow(asker)
        loads = []
        load = third.store.load

        async def counted(wanted):
            loads.append(wanted)
            return await load(wanted)

        third.store.load = counted
        await third.follow(asked)
        assert converged(asked, third)
        assert len(loads) < 10
