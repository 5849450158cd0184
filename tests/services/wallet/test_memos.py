"""What a payer writes stands in a section of its own: conservation rests on nothing in it, so it can be erased."""

from jilnode.kernel.codec import decode_section
from services.wallet.intents import PostPending, PostTransfer, ReserveTransfer, VoidPending
from services.wallet.rows import MEMOS
from tests.services.wallet.kit import CHF, Bank, bank, rows


async def newest_sections(two: Bank) -> dict[str, bytes]:
    return dict((await two.home.journal())[0][-1].sections)


async def test_a_reference_is_in_the_section_that_can_be_erased_and_nowhere_else():
    async with bank(2) as two:
        a, b = await two.account("a", "100.00"), await two.account("b")
        paid = await two.home.run(PostTransfer(a, b, CHF, "1.00", "rent of May"), actor="a")
        assert paid.reply.reference == "rent of May"
        sections = await newest_sections(two)
        assert set(sections) == {"rows", "memo"}
        assert b"rent of May" not in sections["rows"]
        ((table, _, doc),) = decode_section(sections["memo"])
        assert (table, doc) == ("wallet.memo", b'{"reference":"rent of May"}')
        await two.pay(a, b, "1.00")
        assert set(await newest_sections(two)) == {"rows"}, "who writes nothing makes no section"
        await two.settle()
        assert [row.reference for row in rows(two.nodes[1], MEMOS).values()] == ["rent of May"]


async def test_what_is_posted_has_what_was_written_when_it_was_reserved():
    async with bank() as one:
        a, b = await one.account("a", "100.00"), await one.account("b")
        reserved = await one.home.run(ReserveTransfer(a, b, CHF, "5.00", reference="deposit"), actor="a")
        assert reserved.reply.reference == "deposit"
        await one.home.run(PostPending(reserved.reply.id, "3.00"), actor="a")
        assert sorted(row.reference for row in rows(one.home, MEMOS).values()) == ["deposit", "deposit"]
        plain = await one.home.run(ReserveTransfer(a, b, CHF, "5.00"), actor="a")
        assert plain.reply.reference == ""
        voided = await one.home.run(VoidPending(plain.reply.id), actor="a")
        assert voided.reply.reference is None, "the answer is only about how it was resolved"
