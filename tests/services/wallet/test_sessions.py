"""A payment that is tried again at another node is not made twice."""

from hashlib import sha256

import pytest

from jilnode.kernel.command import Submission
from jilnode.kernel.errors import Rejected
from services.wallet.intents import PostTransfer
from tests.services.wallet.kit import CHF, bank, check_conservation
from tests.services.wallet.test_shares import roaming


async def test_a_payment_of_another_node_s_session_is_made_once():
    async with bank(2) as two:
        home, away = two.nodes
        a, b = await roaming(two)
        # Money of the payer is at both nodes, so each could pay.
        await two.pay(a, b, "40.00")
        await two.settle()
        two.clock.advance(61)
        await two.settle()
        await two.pay(b, a, "20.00", "b", away)

        def payment(session: str, name: bytes = b"a key") -> Submission:
            key, body = sha256(name).digest(), sha256(b"body").digest()
            return Submission(PostTransfer(a, b, CHF, "5.00"), "a", frozenset(), key, body, session=session)

        first = await home.writer.submit(payment(home.source))
        with pytest.raises(Rejected, match="outcome_unknown") as refused:
            await away.writer.submit(payment(home.source))
        assert refused.value.extra["owner"] == home.source
        assert not refused.value.final
        await two.settle()
        again = await away.writer.submit(payment(home.source))
        assert again.replayed
        assert (again.source, again.sequence, again.reply.id) == (first.source, first.sequence, first.reply.id)
        assert not (await away.writer.submit(payment("", b"another key"))).replayed, "it could have paid"
        check_conservation(away)


async def test_a_session_of_one_s_own_and_none_are_the_same():
    async with bank() as one:
        a, b = await one.account("a", "10.00"), await one.account("b")
        for number, session in enumerate(("", one.home.source)):
            key = sha256(b"%d" % number).digest()
            command = PostTransfer(a, b, CHF, "1.00")
            done = await one.home.writer.submit(Submission(command, "a", frozenset(), key, key, session=session))
            assert done.reply.amount == "1.00"
