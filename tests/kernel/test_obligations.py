"""What a node owes answers to: each is answered, whoever else asks for more than this node keeps in memory."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from jilnode.kernel.obligations import RETRY_MAX_US, RETRY_US, Obligations
from jilnode.kernel.state import Context, State
from jilnode.module import Command, CreatedBy, DerivedFrom, Module, Owned, Reaction, Rejected, Table
from jilnode.stores.memory import Fate, MemoryStore
from tests.kit.node import FakeClock, TestNode, running
from tests.services.wallet.kit import turn

HOME, GREEDY, HONEST = "ch-zug-01", "ae-fsra-01", "sg-mas-01"
ROOM = 8


class Question(Owned, frozen=True):
    to: str
    silly: bool = False


class Reply(Owned, frozen=True):
    at_us: int


QUESTIONS = Table("quiz.question", Question, CreatedBy(), write_once=True, searchable=("to",))
REPLIES = Table("quiz.reply", Reply, DerivedFrom(QUESTIONS, lambda row: row.to))


class Ask(msgspec.Struct, frozen=True):
    count: int
    silly: bool = False


class Tell(msgspec.Struct, frozen=True):
    key: str


def _ask(state: State, context: Context, command: Ask) -> None:
    for _ in range(command.count):
        state[QUESTIONS].insert(context.new_key(), Question(HOME, command.silly))


class Quiz:
    """A node that refuses to answer silly questions, and counts how often it was asked to."""

    def __init__(self, per_source: int = ROOM) -> None:
        self.told: list[str] = []
        self.clock = FakeClock()
        reaction = Reaction(QUESTIONS, "to", REPLIES, lambda key, row: Tell(key))
        module = Module(
            "quiz",
            1,
            tables=(QUESTIONS, REPLIES),
            commands=(
                Command(Ask, "quiz.question.asked", _ask, lambda rows: None),
                Command(Tell, "quiz.question.answered", self._tell, lambda rows: None),
            ),
            reactions=(reaction,),
        )
        self.nodes = [TestNode(source, [module], clock=self.clock) for source in (HOME, GREEDY, HONEST)]
        self.home, self.greedy, self.honest = self.nodes
        self.obligations = Obligations(HOME, [reaction], per_source)
        self.home.writer.chores.obligations = self.obligations

    def _tell(self, state: State, context: Context, command: Tell) -> None:
        question: Any = state[QUESTIONS].rest_on(command.key)
        self.told.append(command.key)
        if question.silly:
            raise Rejected("silly", "nobody answers that")
        state[REPLIES].insert(command.key, Reply(context.time_us))

    def answered(self, source: str) -> int:
        return sum(key.startswith(source) for key in self.home.disk.tables[REPLIES.name].rows)

    async def until_quiet(self) -> None:
        size = -1
        while size != (size := self.home.engine.own.size):
            await turn(self.home)


async def test_more_than_there_is_room_for_are_answered_in_the_end():
    quiz = Quiz()
    async with running(*quiz.nodes):
        for _ in range(5):
            await quiz.greedy.run(Ask(ROOM))
        for group in await quiz.greedy.groups(GREEDY):
            quiz.home.trusted[GREEDY] = await quiz.greedy.genesis_hash()
            await quiz.home.apply(group)
            assert len(quiz.obligations) <= ROOM
        await quiz.until_quiet()
        assert (quiz.answered(GREEDY), len(quiz.obligations)) == (5 * ROOM, 0)


async def test_one_that_is_never_answered_takes_no_room_of_another():
    quiz = Quiz()
    async with running(*quiz.nodes):
        await quiz.greedy.run(Ask(3 * ROOM, silly=True))
        await quiz.home.follow(quiz.greedy)
        await quiz.honest.run(Ask(2 * ROOM))
        await quiz.home.follow(quiz.honest)
        await quiz.until_quiet()
        assert (quiz.answered(HONEST), quiz.answered(GREEDY)) == (2 * ROOM, 0)
        assert len(quiz.obligations) == ROOM


async def test_after_a_restart_there_is_the_same_room():
    quiz = Quiz()
    async with running(*quiz.nodes):
        await quiz.greedy.run(Ask(3 * ROOM, silly=True))
        await quiz.honest.run(Ask(2))
        await quiz.home.follow(quiz.greedy)
        quiz.home.kernel.forbid_writes("for a moment")
        await quiz.home.follow(quiz.honest)
    again = Quiz()
    again.home.kernel.store = again.home.store = again.home.writer.store = quiz.home.store
    await again.home.kernel.start()
    assert len(again.obligations) == ROOM + 2
    await again.home.kernel.close()


async def test_what_is_refused_is_tried_later_and_later():
    quiz = Quiz()
    async with running(*quiz.nodes):
        await quiz.greedy.run(Ask(1, silly=True))
        await quiz.home.follow(quiz.greedy)
        await quiz.until_quiet()
        moments = []
        for _ in range(2000):
            quiz.clock.advance(1)
            before = len(quiz.told)
            await turn(quiz.home)
            if len(quiz.told) > before:
                moments.append(quiz.clock.elapsed_us)
        waits = [after - before for before, after in zip([0, *moments], moments, strict=False)]
        assert waits[:3] == [RETRY_US, 2 * RETRY_US, 4 * RETRY_US]
        assert waits == sorted(waits)
        assert waits[-1] == RETRY_MAX_US


async def test_an_answer_that_was_lost_with_its_commit_is_given_again():
    quiz = Quiz()
    home = quiz.home
    fates = [Fate.DURABLE]
    home.store = home.kernel.store = home.writer.store = MemoryStore(home.disk, fate=lambda commit: fates[-1])
    async with running(*quiz.nodes):
        await quiz.greedy.run(Ask(1))
        home.kernel.forbid_writes("until the question is there")
        await home.follow(quiz.greedy)
        ((key, _),) = await home.store.open_obligations(quiz.obligations.reactions[0], HOME, 1)
        fates.append(Fate.LOST)
        home.kernel.allow_writes()
        # A command of somebody's own, which the node would have run unasked as well, and does in the same commit.
        with pytest.raises(Rejected, match="commit_failed"):
            await home.run(Tell(key))
        fates.append(Fate.DURABLE)
        await quiz.until_quiet()
        assert quiz.answered(GREEDY) == 1


async def test_a_row_of_which_no_command_can_be_made_stops_nobody():
    quiz = Quiz()
    (reaction,) = quiz.obligations.reactions
    quiz.obligations.reactions[0] = replace(reaction, command=lambda key, row: 1 // 0)
    async with running(*quiz.nodes):
        await quiz.greedy.run(Ask(1))
        await quiz.home.follow(quiz.greedy)
        await quiz.until_quiet()
        assert quiz.home.writer.writable
        assert quiz.home.engine.alarms
        quiz.obligations.reactions[0] = reaction
        quiz.clock.advance(RETRY_US / 1_000_000)
        await quiz.until_quiet()
        assert quiz.answered(GREEDY) == 1


@pytest.mark.parametrize("now_us", [1, 10**15])
def test_the_oldest_is_due_first_whatever_its_key(now_us):
    reaction = Reaction(QUESTIONS, "to", REPLIES, lambda key, row: Tell(key))
    obligations = Obligations(HOME, [reaction])
    obligations.fill(reaction, [("z/1", "z")], now_us)
    obligations.fill(reaction, [("z/1", "z"), ("a/1", "a"), ("a/2", "a")], now_us + 1)
    assert obligations.due(now_us, 9) == [(reaction, "z/1")]
    assert obligations.due(now_us + 1, 2) == [(reaction, "z/1"), (reaction, "a/1")]
    obligations.close(reaction, "z/1")
    assert obligations.due(now_us + 1, 2) == [(reaction, "a/1"), (reaction, "a/2")]
    assert obligations.next_us() == now_us + 1
