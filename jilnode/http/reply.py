"""A reply: status, header list and body, ready to be sent as they are."""

from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Send

__all__ = ("JSON", "PROBLEM_JSON", "REPLAYED", "Headers", "Reply", "send_reply")

Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
PROBLEM_JSON = (b"content-type", b"application/problem+json")
REPLAYED = (b"idempotency-replayed", b"true")


class Reply:
    """``headers`` holds everything but the content length."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


async def send_reply(send: Send, reply: Reply) -> None:
    headers = reply.headers
    if reply.status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(reply.body)))
    start: HTTPResponseStartEvent = {"type": "http.response.start", "status": reply.status, "headers": headers}
    await send(start)
    body: HTTPResponseBodyEvent = {"type": "http.response.body", "body": reply.body, "more_body": False}
    await send(body)
