"""Requests per second and client address: token buckets in memory, optionally aware of what other processes have
let through.

Decisions are made here, at once. The shared count is brought in from the background: when Redis is away nothing
waits and nothing is refused because of it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from jilnode.http.problems import HttpRejected

__all__ = ("RateLimiter", "RateShare", "SharedCounts", "redis_counts")

_log = logging.getLogger(__name__)

CLIENTS_MAX = 100_000
SHARE_INTERVAL_S = 0.25
SHARE_WINDOW_S = 10
_EVICTION_LOOKS = 16


class _Bucket:
    __slots__ = ("seen", "taken", "tokens", "updated", "window")

    def __init__(self, tokens: float, updated: float) -> None:
        self.tokens = tokens
        self.updated = updated
        self.taken = 0
        """Since the last exchange of counts."""
        self.seen = 0
        """The shared count of ``window`` that is already in ``tokens``."""
        self.window = 0


class RateLimiter:
    """``rate`` requests a second, ``burst`` at once. ``take`` costs well below a microsecond."""

    def __init__(
        self,
        rate: float = 10,
        burst: int = 20,
        *,
        clients_max: int = CLIENTS_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate = rate
        self.burst = burst
        self._clients_max = clients_max
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self.moved: set[str] | None = None
        """Clients that took something since the last exchange; None while counts are not shared."""

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> None:
        """Raises ``Rejected`` (429) when the bucket is empty."""
        now = self._clock()
        bucket = self._buckets.get(client)
        if bucket is None:
            if len(self._buckets) >= self._clients_max:
                self._evict(now)
            bucket = self._buckets[client] = _Bucket(self.burst, now)
        else:
            tokens = bucket.tokens + (now - bucket.updated) * self.rate
            bucket.tokens = tokens if tokens < self.burst else self.burst
            bucket.updated = now
        if bucket.tokens < 1:
            raise self._refusal(bucket)
        bucket.tokens -= 1
        if self.moved is not None:
            bucket.taken += 1
            self.moved.add(client)

    def _refusal(self, bucket: _Bucket) -> HttpRejected:
        wait_s = max(1, int((1 - bucket.tokens) / self.rate + 0.999))
        window_s = max(1, round(self.burst / self.rate))
        return HttpRejected(
            "rate_limited",
            f"At most {self.rate:g} requests a second, {self.burst} at once.",
            status=429,
            headers=[
                (b"retry-after", b"%d" % wait_s),
                (b"ratelimit-policy", b'"default";q=%d;w=%d' % (self.burst, window_s)),
                (b"ratelimit", b'"default";r=0;t=%d' % wait_s),
            ],
        )

    def _evict(self, now: float) -> None:
        """The oldest that is full again, for it is like new; else the oldest."""
        full_after_s = self.burst / self.rate
        oldest = next(iter(self._buckets))
        for _, (client, bucket) in zip(range(_EVICTION_LOOKS), self._buckets.items(), strict=False):
            if now - bucket.updated >= full_after_s:
                oldest = client
                break
        del self._buckets[oldest]

    def taken(self) -> dict[str, int]:
        """What was let through since the last call, by client."""
        moved, self.moved = self.moved or set(), set()
        counts: dict[str, int] = {}
        for client in moved:
            if (bucket := self._buckets.get(client)) is not None:
                counts[client], bucket.taken = bucket.taken, 0
        return counts

    def learn(self, window: int, client: str, own: int, shared: int) -> None:
        """``shared`` requests were let through by everybody in ``window``, ``own`` of them just reported from here."""
        bucket = self._buckets.get(client)
        if bucket is None:
            return
        if bucket.window != window:
            bucket.window, bucket.seen = window, 0
        elsewhere = max(0, shared - bucket.seen - own)
        bucket.seen = shared
        bucket.tokens = max(-float(self.burst), bucket.tokens - elsewhere)


class SharedCounts(Protocol):
    async def add(self, window: int, counts: dict[str, int]) -> dict[str, int]:
        """Adds to the shared counts of ``window`` and returns the new ones."""

    async def close(self) -> None: ...


class RateShare:
    """Exchanges counts with other processes a few times a second."""

    def __init__(self, limiter: RateLimiter, counts: SharedCounts, wall: Callable[[], float] = time.time) -> None:
        self.limiter = limiter
        self._counts = counts
        self._wall = wall
        self.failing = False
        limiter.moved = set()

    async def exchange(self) -> None:
        taken = self.limiter.taken()
        if not taken:
            return
        window = int(self._wall() // SHARE_WINDOW_S)
        try:
            async with asyncio.timeout(1):
                shared = await self._counts.add(window, taken)
        except Exception as error:
            if not self.failing:
                _log.warning("rate limit is not shared now", extra={"fields": {"error": type(error).__name__}})
            self.failing = True
            return
        self.failing = False
        for client, own in taken.items():
            self.limiter.learn(window, client, own, shared[client])

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await asyncio.sleep(SHARE_INTERVAL_S)
                await self.exchange()
        finally:
            await self._counts.close()


class _RedisCounts:
    def __init__(self, client: Any) -> None:
        self._client = client

    async def add(self, window: int, counts: dict[str, int]) -> dict[str, int]:
        pipeline = self._client.pipeline(transaction=False)
        for client, count in counts.items():
            key = f"jil:rate:{window}:{client}"
            pipeline.incrby(key, count)
            pipeline.expire(key, 2 * SHARE_WINDOW_S)
        answers = await pipeline.execute()
        return dict(zip(counts, answers[::2], strict=True))

    async def close(self) -> None:
        await self._client.aclose()


def redis_counts(url: str) -> SharedCounts:
    from redis.asyncio import Redis

    return _RedisCounts(Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1))
