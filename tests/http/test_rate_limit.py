"""The rate limit, by a clock of our own; and whose address counts."""

import asyncio

import pytest

from jilnode.http.clients import ClientAddresses
from jilnode.http.problems import HttpRejected
from jilnode.http.rate_limit import RateLimiter, RateShare, redis_counts
from tests.http.kit import app_of, client_of
from tests.kit.parts import require
from tests.kit.valkey import ValkeyServer


class Limited:
    def __init__(self, **options: int) -> None:
        self.now = 0.0
        self.limiter = RateLimiter(10, 20, clock=lambda: self.now, **options)

    def takes(self, client: str = "a") -> bool:
        try:
            self.limiter.take(client)
        except HttpRejected:
            return False
        return True

    def count(self, client: str = "a") -> int:
        taken = 0
        while self.takes(client):
            taken += 1
        return taken


def test_a_burst_then_the_rate() -> None:
    limited = Limited()
    assert limited.count() == 20
    limited.now = 0.95
    assert limited.count() == 9
    limited.now = 100
    assert limited.count() == 20
    assert limited.count("b") == 20


def test_the_refusal_says_when_to_come_back() -> None:
    limited = Limited()
    limited.count()
    with pytest.raises(HttpRejected) as refused:
        limited.limiter.take("a")
    assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    assert dict(refused.value.headers) == {
        b"retry-after": b"1",
        b"ratelimit-policy": b'"default";q=20;w=2',
        b"ratelimit": b'"default";r=0;t=1',
    }


def test_clients_are_bounded_and_the_idle_go_first() -> None:
    limited = Limited(clients_max=3)
    limited.count("a")
    limited.now = 1.0
    limited.takes("b")
    limited.takes("c")
    limited.now = 2.5
    limited.count("a")
    limited.now = 3.5
    limited.takes("d")
    assert len(limited.limiter) == 3
    assert not limited.count("a") > 10


class Counts:
    """What Redis does, in memory."""

    def __init__(self) -> None:
        self.totals: dict[tuple[int, str], int] = {}
        self.away = False
        self.closed = False

    async def add(self, window: int, counts: dict[str, int]) -> dict[str, int]:
        if self.away:
            raise ConnectionError
        for client, count in counts.items():
            self.totals[window, client] = self.totals.get((window, client), 0) + count
        return {client: self.totals[window, client] for client in counts}

    async def close(self) -> None:
        self.closed = True


async def test_two_processes_share_a_client_s_tokens() -> None:
    counts, first, second = Counts(), Limited(), Limited()
    shares = [RateShare(first.limiter, counts, lambda: 0.0), RateShare(second.limiter, counts, lambda: 0.0)]
    for _ in range(9):
        assert first.takes()
        assert second.takes()
    for share in (*shares, shares[0]):
        await share.exchange()
    first.takes()
    await shares[0].exchange()
    # 20 at once for both together: 19 are gone.
    assert second.count() == 2
    assert first.count() == 1
    await shares[1].exchange()


async def test_without_redis_everybody_decides_alone() -> None:
    counts, limited = Counts(), Limited()
    share = RateShare(limited.limiter, counts, lambda: 0.0)
    counts.away = True
    assert limited.count() == 20
    await share.exchange()
    assert share.failing
    limited.now = 10
    assert limited.count() == 20
    counts.away = False
    await share.exchange()
    assert not share.failing
    task = asyncio.create_task(share.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert counts.closed


async def test_counts_in_a_real_server() -> None:
    require("valkey")
    server = ValkeyServer()
    server.start()
    try:
        counts = redis_counts(server.url)
        assert await counts.add(1, {"a": 3, "b": 1}) == {"a": 3, "b": 1}
        assert await counts.add(1, {"a": 2}) == {"a": 5}
        assert await counts.add(2, {"a": 2}) == {"a": 2}
        server.stop()
        with pytest.raises(Exception, match=r".*"):
            await counts.add(2, {"a": 2})
        await counts.close()
    finally:
        server.close()


async def test_over_http() -> None:
    now = [0.0]
    app = app_of(rate_limiter=RateLimiter(1, 2, clock=lambda: now[0]))
    async with client_of(app) as client:
        statuses = [(await client.get("/nothing")).status_code for _ in range(3)]
        assert statuses == [404, 404, 429]
        answer = await client.get("/healthz")
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["content-type"] == "application/problem+json"
        now[0] = 2.0
        assert (await client.get("/healthz")).status_code == 200
        assert b"jil_http_rate_limited_total 2" in (await client.get("/metrics")).content


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", None, "203.0.113.7"),
        ("203.0.113.7", b"198.51.100.1", "203.0.113.7"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", b"198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", b"1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", b"198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", b"nonsense", "10.0.0.1"),
        ("10.0.0.1", b"198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", b"2001:db8:1:2:3::4", "2001:db8:1:2::"),
        ("2001:db8:1:2:3::4", None, "2001:db8:1:2::"),
        ("::ffff:198.51.100.1", None, "198.51.100.1"),
        ("", None, ""),
    ],
)
def test_whose_address_counts(peer: str, forwarded: bytes | None, client: str) -> None:
    addresses = ClientAddresses(("10.0.0.0/8",))
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded)]
    assert addresses.client(peer, headers) == client


@pytest.mark.parametrize(
    ("peer", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::"),
        ("10.1.2.3", None),
        ("::ffff:10.1.2.3", None),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", None),
    ],
)
def test_whose_a_connection_is(peer: str, group: str | None) -> None:
    """A proxy's is that of many clients."""
    assert ClientAddresses(("10.0.0.0/8",)).connected(peer) == group
