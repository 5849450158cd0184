"""The newest entries in memory, for streams that resume: in order, and no more than a bound of them."""

import pytest

from jilnode.feed import JournalFeed
from jilnode.kernel.entry import Entry
from tests.kit.node import TestNode, running


def entry(sequence: int, bytes: int = 10, source: str = "sg-mas-01") -> Entry:
    return Entry(source, 0, sequence, b"h" * bytes, {})


@pytest.mark.parametrize(("entries_max", "bytes_max"), [(4, 1000), (1000, 40)])
async def test_the_newest_are_kept_and_the_others_are_the_journal_s(
    entries_max: int, bytes_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jilnode.feed.RECENT_ENTRIES_MAX", entries_max)
    monkeypatch.setattr("jilnode.feed.RECENT_BYTES_MAX", bytes_max)
    node = TestNode()
    async with running(node):
        feed = JournalFeed(node.writer, node.store)
        for number in range(3):
            feed._committed([entry(number), entry(number, source="us-ny-01")], [])
        assert len(feed._recent) == len(feed._numbers) == 4
        assert await feed.after(("us-ny-01", 0, 1), 9) == [entry(2), entry(2, source="us-ny-01")]
        assert await feed.after(("us-ny-01", 0, 1), 1) == [entry(2)]
        assert await feed.after(("us-ny-01", 0, 2), 9) == []
        with pytest.raises(LookupError):
            await feed.after(("us-ny-01", 0, 0), 9)
        feed._committed([entry(3, bytes=41)], [])
        assert sum(one.size for one in feed._recent) <= bytes_max
