"""Channels of live feeds: the frames of one feed and key, made and encoded once for all who listen.

A channel's newest frames stay in a ring, also for a while after the last client left, so that who comes back within it
gets what it missed. Its ids name the channel and count its deltas: an id of another channel, or of one that was
forgotten, is no position in this one.
"""

import logging
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from jilnode.http.frames import StreamFrame
from jilnode.http.ports import WriterPort
from jilnode.http.streams import StreamClient
from jilnode.kernel.entry import Entry, Seal
from jilnode.kernel.entry_rows import EntryRows
from jilnode.kernel.errors import Missing
from jilnode.limits import FEED_CHANNELS_MAX, FEED_KEPT_S, FEED_RING_BYTES, FEED_RING_FRAMES
from jilnode.module import Feed, Frame

__all__ = ("Channel", "Channels")

_log = logging.getLogger(__name__)

_EVENT = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_ID = re.compile(r"([0-9a-f]{16})-([0-9]{1,18})")

_encode = msgspec.json.Encoder().encode


class Channel:
    def __init__(self, feed: Feed, key: Hashable) -> None:
        self.feed = feed
        self.key = key
        self.clients: set[StreamClient[StreamFrame]] = set()
        self.idle_since = 0.0
        self._name = secrets.token_hex(8)
        self._deltas = 0
        self._ring: deque[StreamFrame] = deque()
        self._ring_bytes = 0
        self._snapshot: StreamFrame | None = None
        """Of the state after the newest delta, once somebody needed it."""

    def snapshot(self, view: Any) -> StreamFrame:
        """Raises ``Missing``, ``Rejected``."""
        if self._snapshot is None:
            self._snapshot = self._encoded(self.feed.snapshot(view, self.key))
        return self._snapshot

    def after(self, position: str) -> list[StreamFrame] | None:
        """The frames after that id; None when they are not here."""
        match = _ID.fullmatch(position)
        if match is None or match.group(1) != self._name:
            return None
        missed = self._deltas - int(match.group(2))
        if not 0 <= missed <= len(self._ring):
            return None
        return list(islice(self._ring, len(self._ring) - missed, None))

    def commit(self, view: Any, changes: Sequence[EntryRows]) -> None:
        """The delta of one commit, if there is one, goes to every client. Raises what ``Feed.delta`` does."""
        delta = self.feed.delta(view, self.key, changes)
        if delta is None:
            return
        self._deltas += 1
        self._snapshot = None
        frame = self._encoded(delta)
        self._ring.append(frame)
        self._ring_bytes += len(frame.data)
        while len(self._ring) > FEED_RING_FRAMES or self._ring_bytes > FEED_RING_BYTES:
            self._ring_bytes -= len(self._ring.popleft().data)
        for client in self.clients:
            client.put(frame)

    def _encoded(self, frame: Frame) -> StreamFrame:
        if _EVENT.fullmatch(frame.event) is None:
            raise ValueError(f"{frame.event!r} is not the name of an event")
        return StreamFrame(f"{self._name}-{self._deltas}", frame.event, _encode(frame.data))


class Channels:
    """Every channel with clients, and those that had some a while ago. Without any, a commit costs nothing more."""

    def __init__(self, writer: WriterPort, feeds: Iterable[Feed], clock: Callable[[], float] = time.monotonic) -> None:
        self._writer = writer
        self._clock = clock
        self._channels: dict[Feed, dict[Hashable, Channel]] = {feed: {} for feed in feeds}
        self._tables = {feed: frozenset(table.name for table in feed.tables) for feed in self._channels}
        self.count = 0
        self._idle: dict[Channel, None] = {}
        """Those that their last client left, in that order; some have clients again."""
        if self._channels:
            writer.listeners.append(self._committed)

    def open(self, feed: Feed, key: Hashable) -> Channel:
        """The channel that is there, or a new one: it is idle until it has a client."""
        channel = self._channels[feed].get(key)
        if channel is None:
            if self.count >= FEED_CHANNELS_MAX:
                # There are more channels than there may be clients, so one is idle.
                idle = (one for known in self._channels.values() for one in known.values() if not one.clients)
                self._forget(min(idle, key=lambda one: one.idle_since))
            channel = self._channels[feed][key] = Channel(feed, key)
            self._rest(channel)
            self.count += 1
        return channel

    def leave(self, channel: Channel, client: StreamClient[StreamFrame]) -> None:
        channel.clients.discard(client)
        # One that failed is forgotten already, and another may have its place.
        if not channel.clients and self._channels[channel.feed].get(channel.key) is channel:
            self._rest(channel)

    def _rest(self, channel: Channel) -> None:
        channel.idle_since = self._clock()
        self._idle.pop(channel, None)
        self._idle[channel] = None

    def _forget_idle(self) -> None:
        while self._idle:
            channel = next(iter(self._idle))
            if channel.clients:
                del self._idle[channel]
            elif self._clock() - channel.idle_since > FEED_KEPT_S:
                self._forget(channel)
            else:
                return

    def _forget(self, channel: Channel) -> None:
        self._idle.pop(channel, None)
        del self._channels[channel.feed][channel.key]
        self.count -= 1

    def _committed(self, entries: list[Entry], _seals: list[Seal]) -> None:
        """Called by the writer, so nothing that goes wrong here may leave."""
        self._forget_idle()
        if not self.count:
            return
        try:
            changes = [EntryRows.of(entry) for entry in entries]
        except Exception:
            _log.exception("an entry can't be shown", extra={"fields": {"entries": len(entries)}})
            for channel in [one for channels in self._channels.values() for one in channels.values()]:
                self._fail(channel)
            return
        for feed, channels in self._channels.items():
            if not channels:
                continue
            tables = self._tables[feed]
            touching = [rows for rows in changes if not tables.isdisjoint(rows.tables)]
            if touching:
                view = self._writer.view()
                for channel in self._concerned(feed, channels, touching):
                    self._tell(channel, view, touching)

    def _concerned(self, feed: Feed, channels: dict[Hashable, Channel], changes: Sequence[EntryRows]) -> list[Channel]:
        if feed.concerns is None:
            return list(channels.values())
        try:
            return [channels[key] for key in set(feed.concerns(changes)) if key in channels]
        except Exception:
            _log.exception("a feed failed", extra={"fields": {"feed": feed.path}})
            for channel in list(channels.values()):
                self._fail(channel)
            return []

    def _tell(self, channel: Channel, view: Any, changes: Sequence[EntryRows]) -> None:
        try:
            channel.commit(view, changes)
        except (Exception, Missing):
            _log.exception("a feed failed", extra={"fields": {"feed": channel.feed.path}})
            self._fail(channel)

    def _fail(self, channel: Channel) -> None:
        """A frame is missing from it: whoever listens begins again, with a snapshot of a new one."""
        self._forget(channel)
        for client in channel.clients:
            client.end("failed")
