"""The bus without a broker: a node pulls other nodes' journals over HTTP and resumes by sequence. For laptops, and for
catching up."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import httpx
import msgspec

from jilnode.events.bus import Lane, Record
from jilnode.events.export import read_lines
from jilnode.events.peer_token import make_token
from jilnode.events.record import SEAL_KIND, seal_of_note
from jilnode.kernel.codec import decode_record
from jilnode.kernel.entry import Seal
from jilnode.kernel.errors import Breach
from jilnode.kernel.seal import is_signed, origin_of
from jilnode.kernel.writer import Writer
from jilnode.limits import PEER_RESPONSE_BYTES_MAX

__all__ = ("PeerBus",)

logger = logging.getLogger("jilnode.peer")

TIMEOUT_S = 15.0
WAIT_MS = 5_000
PAUSE_S = 0.5
PAUSE_MAX_S = 5.0
BATCHES_WAITING_MAX = 8

Batch = tuple[Lane, list[Record], str]
Place = tuple[int, int]
"""(epoch, size)."""
Heads = dict[str, Place]


class _Unreachable(Exception):
    pass


class PeerBus:
    """``publish`` sends nothing: others come and fetch, and their long polls end with each commit. Of what peers say
    only that counts which is of sources that are known here or ``trusted``."""

    name = "peer"
    ordered = False

    def __init__(self, urls: Sequence[str], writer: Writer, trusted: Mapping[str, str]) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._writer = writer
        self._engine = writer.engine
        self._trusted = trusted
        self._batches: asyncio.Queue[Batch] = asyncio.Queue(BATCHES_WAITING_MAX)
        self._fed: dict[Lane, tuple[int, int]] = {}
        self._again: dict[Lane, tuple[int, int]] = {}
        """Lanes that are read again from before what is applied, and how far that has come."""
        self._behind: dict[Lane, int] = {}
        self._peers: dict[str, str] = {}
        """URL -> source id of the peers that answer."""
        self._tasks: list[asyncio.Task[None]] = []
        self._client: httpx.AsyncClient | None = None

    async def start(self, positions: Mapping[Lane, str]) -> None:
        """Positions are not needed: what is applied here says where to go on."""
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._pull_for_ever(url), name=f"peer {url}") for url in self._urls]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def publish(self, source: str, records: Sequence[Record]) -> None:
        return None

    async def receive(self, max_records: int) -> list[Batch]:
        return [await self._batches.get()]

    def rewind(self, lane: Lane, position: str | None) -> None:
        self._fed.pop(lane, None)
        self._again.pop(lane, None)
        if position is not None:
            epoch, size = map(int, position.split("/"))
            self._again[lane] = (epoch, size)

    async def ends(self, source: str) -> dict[Lane, str] | None:
        found: dict[Lane, str] = {}
        answered = False
        for url in self._urls:
            try:
                peer = await self._peer(url)
                heads = await self._heads(url, peer)
                head = await self._proven_head(url, peer, source, heads.get(source, (0, 0)))
            except _Unreachable:
                continue
            answered = True
            if head is not None:
                found[_lane(peer, source)] = "/".join(map(str, head))
        return found if answered else None

    async def _proven_head(self, url: str, peer: str, source: str, head: Place) -> Place | None:
        """How far the peer has more of this node's own journal than is here. It proves that by this node's seal: its
        word alone would keep this node from writing for ever."""
        state = self._engine.sources.get(source)
        if head <= ((0, 0) if state is None else (state.epoch, state.size)):
            return None
        query = f"source={source}&epoch={head[0]}&start={max(0, head[1] - 1)}"
        seals = _seals(await self._get(f"{url}/v1/peer/journal?{query}", peer))
        proven = [(seal.epoch, seal.size) for seal in seals if self._is_own(seal)]
        if not proven:
            logger.warning("a peer names a head of this node, and no seal of it", extra={"fields": {"peer": peer}})
        return max(proven, default=None)

    def _is_own(self, seal: Seal) -> bool:
        """Whether a key of this node made it: the one that it has, or the one that its journal names."""
        engine = self._engine
        state = engine.sources.get(engine.source)
        keys = [engine.key.public_key] if state is None else [engine.key.public_key, state.public_key]
        origin = origin_of(engine.network, engine.source, seal.epoch)
        return any(is_signed(seal.note, origin, key) for key in keys)

    def reached(self, lane: Lane, position: str | None, end: str) -> bool:
        epoch, size = map(int, end.split("/"))
        state = self._engine.sources.get(lane.rpartition("/")[2])
        return state is not None and (state.epoch, state.size) >= (epoch, size)

    async def dead_letter(self, record: Record, reason: str) -> None:
        logger.error("a peer sent what can't be read", extra={"fields": {"source": record.source, "reason": reason}})

    def lag(self) -> dict[Lane, int]:
        return dict(self._behind)

    # Pulling

    async def _pull_for_ever(self, url: str) -> None:
        pause_s = PAUSE_S
        while True:
            try:
                await self._pull(url)
            except _Unreachable as error:
                self._peers.pop(url, None)
                logger.info("a peer does not answer", extra={"fields": {"peer": url, "detail": str(error)}})
            except Exception:
                logger.exception("a peer can't be followed now; it is tried again", extra={"fields": {"peer": url}})
            else:
                pause_s = PAUSE_S
                continue
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def _pull(self, url: str) -> None:
        """One round: this peer's own journal, with a long poll; and those of sources that have no peer of their own."""
        peer = await self._peer(url)
        if peer not in self._engine.sources:
            if peer in self._trusted:
                await self._feed(_lane(peer, peer), await self._get(f"{url}/v1/peer/genesis", None))
            if peer not in self._engine.sources:
                await asyncio.sleep(PAUSE_S)
                return
        heads = await self._heads(url, peer)
        direct = set(self._peers.values())
        moved = False
        for source, head in heads.items():
            if source not in self._engine.sources and source not in self._trusted:
                continue
            if source == self._engine.source:
                # Of a node that writes, nobody knows more than it does itself; who says so shows it a second history.
                own = self._engine.sources.get(source)
                if own is not None and self._writer.writable and head <= (own.epoch, own.size):
                    continue
            elif source != peer and source in direct:
                continue
            lane = _lane(peer, source)
            start = self._start(lane, source)
            self._behind[lane] = max(0, head[1] - start[1]) if head[0] == start[0] else head[1]
            if head > start:
                moved = True
                await self._journal(url, peer, source, start, 0)
        if not moved:
            await self._journal(url, peer, peer, self._start(_lane(peer, peer), peer), WAIT_MS)

    def _start(self, lane: Lane, source: str) -> tuple[int, int]:
        state = self._engine.sources.get(source)
        known = (0, 0) if state is None else (state.epoch, state.size)
        if (again := self._again.get(lane)) is not None:
            if again < known:
                return again
            del self._again[lane]
        return max(known, self._fed.get(lane, known))

    async def _journal(self, url: str, peer: str, source: str, start: tuple[int, int], wait_ms: int) -> None:
        query = f"source={source}&epoch={start[0]}&start={start[1]}&wait_ms={wait_ms}"
        await self._feed(_lane(peer, source), await self._get(f"{url}/v1/peer/journal?{query}", peer))

    async def _feed(self, lane: Lane, body: bytes) -> None:
        try:
            records = list(read_lines(body.splitlines()))
            last = [record for record in records if record.kind != SEAL_KIND][-1:]
            fed = [decode_record(record.value) for record in last]
        except Breach as breach:
            raise _Unreachable(str(breach)) from None
        if fed:
            position = (fed[0].epoch, fed[0].sequence + 1)
            if lane in self._again:
                self._again[lane] = position
            self._fed[lane] = position
            await self._batches.put((lane, records, f"{position[0]}/{position[1]}"))

    async def _peer(self, url: str) -> str:
        """The peer's source id, as its genesis names it."""
        if url not in self._peers:
            records = list(read_lines((await self._get(f"{url}/v1/peer/genesis", None)).splitlines()))
            if not records:
                raise _Unreachable("no genesis")
            self._peers[url] = records[0].source
        return self._peers[url]

    async def _heads(self, url: str, peer: str) -> Heads:
        try:
            return msgspec.json.decode(await self._get(f"{url}/v1/peer/heads", peer), type=Heads)
        except msgspec.MsgspecError as error:
            raise _Unreachable(str(error)) from None

    async def _get(self, url: str, peer: str | None) -> bytes:
        """Raises ``_Unreachable`` for anything but an answer within its bounds."""
        assert self._client is not None, "the bus is not started"
        headers = {}
        if peer is not None:
            now_s = self._engine.clock.wall_us() // 1_000_000
            headers["authorization"] = f"Bearer {make_token(self._engine.key, self._engine.source, peer, now_s)}"
        body = bytearray()
        try:
            async with self._client.stream("GET", url, headers=headers) as response:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > PEER_RESPONSE_BYTES_MAX:
                        raise _Unreachable("the answer is too large")
                if response.status_code != 200:
                    raise _Unreachable(f"status {response.status_code}")
        except httpx.HTTPError as error:
            raise _Unreachable(type(error).__name__) from None
        return bytes(body)


def _seals(body: bytes) -> list[Seal]:
    """Raises ``_Unreachable``."""
    try:
        return [seal_of_note(record.value) for record in read_lines(body.splitlines()) if record.kind == SEAL_KIND]
    except Breach as breach:
        raise _Unreachable(str(breach)) from None


def _lane(peer: str, source: str) -> Lane:
    return f"peer/{peer}/{source}"
