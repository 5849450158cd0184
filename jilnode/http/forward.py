"""Forwarding: a request whose rows another node owns is passed to it once, unread, and its answer passed back."""

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

import httpx

from jilnode.http.reply import Headers, Reply
from jilnode.kernel.errors import Rejected
from jilnode.kernel.system import is_web_address

__all__ = ("HOP_HEADER", "Forwarder")

HOP_HEADER = b"jil-forwarded"
"""Carries the node that forwarded. A request that has it is never forwarded again."""

_REPLY_BYTES_MAX = 8 * 1024 * 1024
_PASSED_ON = (
    b"authorization",
    b"content-type",
    b"idempotency-key",
    b"if-match",
    b"if-none-match",
    b"jil-session",
    b"traceparent",
)
_STATUSES = frozenset([status.value for status in HTTPStatus if status >= HTTPStatus.OK])
"""What an answer may have; anything else is none."""
_PASSED_BACK = ("content-type", "etag", "jil-entry", "jil-finality", "idempotency-replayed", "retry-after")


class Forwarder:
    """Only to the owner's published address, which is https but in development; redirects are not followed. An owner
    that is ``suspended`` gets nothing. What an owner published, and what answers there, may be anything.
    """

    def __init__(
        self,
        source: str,
        *,
        plain_http: bool = False,
        timeout_s: float = 15,
        suspended: Callable[[str], bool] = lambda owner: False,
        make_client: Callable[[], httpx.AsyncClient] | None = None,
    ) -> None:
        self._source = source
        self._schemes = ("https://", "http://") if plain_http else ("https://",)
        self._timeout_s = timeout_s
        self.suspended = suspended
        self._make_client = make_client or partial(_client, timeout_s)
        self._client: httpx.AsyncClient | None = None

    async def forward(
        self, address: str, method: str, target: bytes, headers: dict[bytes, bytes], body: bytes, client: str
    ) -> Reply:
        """Raises ``Rejected`` (502): whether the owner has done it is then unknown, and a retry with the same key
        is safe.
        """
        if not address.startswith(self._schemes) or not is_web_address(address):
            raise Rejected("owner_unreachable", "The owner's published address can't be used.", status=502)
        passed = [(name, headers[name]) for name in _PASSED_ON if name in headers]
        # A compressed answer would be larger than what came before anybody could say that it is too large.
        passed += [
            (HOP_HEADER, self._source.encode()),
            (b"x-forwarded-for", client.encode()),
            (b"accept-encoding", b"identity"),
        ]
        try:
            # Each wait has a bound of the client's own; an owner that sends a byte now and then would pass them all.
            async with asyncio.timeout(self._timeout_s):
                return await self._ask(method, address.rstrip("/") + target.decode("ascii"), passed, body)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, TimeoutError) as error:
            raise Rejected(
                "owner_unreachable", "The owner did not answer; retry with the same key.", status=502, retry_after_s=2
            ) from error

    async def _ask(self, method: str, url: str, headers: Headers, body: bytes) -> Reply:
        if self._client is None:
            self._client = self._make_client()
        async with self._client.stream(method, url, headers=headers, content=body) as response:
            if response.status_code not in _STATUSES or "content-encoding" in response.headers:
                raise Rejected("owner_unreachable", "The owner's answer can't be read.", status=502)
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _REPLY_BYTES_MAX:
                    raise Rejected("owner_unreachable", "The owner's answer is too large.", status=502)
        back: Headers = [
            (name.encode(), response.headers[name].encode()) for name in _PASSED_BACK if name in response.headers
        ]
        return Reply(response.status_code, back, bytes(content))

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def _client(timeout_s: float) -> httpx.AsyncClient:
    # With a transport of its own it asks no proxy of the environment, while the environment's certificates count.
    transport = httpx.AsyncHTTPTransport()
    return httpx.AsyncClient(transport=transport, trust_env=False, timeout=timeout_s, follow_redirects=False)
