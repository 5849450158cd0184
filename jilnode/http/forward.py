"""Forwarding: a request whose rows another node owns is passed to it once, unread, and its answer passed back."""

from collections.abc import Callable
from urllib.parse import urlsplit

import httpx

from jilnode.http.reply import Headers, Reply
from jilnode.kernel.errors import Rejected

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
_PASSED_BACK = ("content-type", "etag", "jil-entry", "jil-finality", "idempotency-replayed", "retry-after")


class Forwarder:
    """Only to the owner's published address, which is https but in development; redirects are not followed."""

    def __init__(
        self,
        source: str,
        *,
        plain_http: bool = False,
        timeout_s: float = 15,
        make_client: Callable[[], httpx.AsyncClient] | None = None,
    ) -> None:
        self._source = source
        self._schemes = ("https", "http") if plain_http else ("https",)
        self._make_client = make_client or (lambda: httpx.AsyncClient(timeout=timeout_s, follow_redirects=False))
        self._client: httpx.AsyncClient | None = None

    async def forward(
        self, address: str, method: str, target: bytes, headers: dict[bytes, bytes], body: bytes, client: str
    ) -> Reply:
        """Raises ``Rejected`` (502): whether the owner has done it is then unknown, and a retry with the same key
        is safe.
        """
        parts = urlsplit(address)
        if parts.scheme not in self._schemes or not parts.hostname:
            raise Rejected("owner_unreachable", "The owner's published address can't be used.", status=502)
        passed = [(name, headers[name]) for name in _PASSED_ON if name in headers]
        passed += [(HOP_HEADER, self._source.encode()), (b"x-forwarded-for", client.encode())]
        if self._client is None:
            self._client = self._make_client()
        try:
            async with self._client.stream(
                method, f"{parts.scheme}://{parts.netloc}{target.decode('ascii')}", headers=passed, content=body
            ) as response:
                content = b""
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > _REPLY_BYTES_MAX:
                        raise Rejected("owner_unreachable", "The owner's answer is too large.", status=502)
        except httpx.HTTPError as error:
            raise Rejected(
                "owner_unreachable", "The owner did not answer; retry with the same key.", status=502, retry_after_s=2
            ) from error
        back: Headers = [
            (name.encode(), response.headers[name].encode()) for name in _PASSED_BACK if name in response.headers
        ]
        return Reply(response.status_code, back, content)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
