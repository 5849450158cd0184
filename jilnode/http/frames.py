"""A frame on its way to clients: encoded once, in each of the two forms that a stream has."""

import msgspec

__all__ = ("StreamFrame", "event_stream_end")


class StreamFrame:
    """``data`` is JSON. Whoever sends it to many clients keeps one object: each form is made at most once."""

    __slots__ = ("_as_event", "_as_message", "data", "event", "id")

    def __init__(self, id: str, event: str, data: bytes) -> None:
        self.id = id
        self.event = event
        self.data = data
        self._as_event = b""
        self._as_message = ""

    @property
    def as_event(self) -> bytes:
        """A server-sent event. Ids and the names of events hold no line break."""
        if not self._as_event:
            self._as_event = b"id: %b\nevent: %b\ndata: %b\n\n" % (self.id.encode(), self.event.encode(), self.data)
        return self._as_event

    @property
    def as_message(self) -> str:
        """The text of a WebSocket message."""
        if not self._as_message:
            parts = {"id": self.id, "event": self.event, "data": msgspec.Raw(self.data)}
            self._as_message = msgspec.json.encode(parts).decode()
        return self._as_message


def event_stream_end(reason: str) -> bytes:
    """The last server-sent event: it has no id, so that a client resumes where it was."""
    return b"event: %b\ndata: {}\n\n" % reason.encode()
