"""Cancel all, tried again with its key."""

from services.dex.intents import CancelAll
from tests.services.dex.kit import book, exchange


async def test_what_came_since_outlives_the_same_request():
    async with exchange() as ex:
        account = await ex.trader("a")
        first = await ex.home.run(CancelAll(account), actor="a", key="k")
        assert (first.reply.cancelled, first.replayed) == ([], False)
        order = await ex.order("a", account, "buy", "1.00", "100.00")
        again = await ex.home.run(CancelAll(account), actor="a", key="k")
        assert (again.reply, again.sequence, again.replayed) == (first.reply, first.sequence, True)
        assert [key.replace("/", "~") for key, _, _ in book(ex.home)[0]] == [order.id]
