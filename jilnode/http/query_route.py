"""A read: committed state only, with an ETag where the query names its row."""

from typing import Any

import msgspec
from litestar.types import Scope

from jilnode.http.auth import Principal
from jilnode.http.contexts import Contexts
from jilnode.http.etags import etag_of, unchanged
from jilnode.http.parameters import ParameterReader
from jilnode.http.ports import WriterPort
from jilnode.http.reply import JSON, Headers, Reply
from jilnode.kernel.image import Image
from jilnode.module import Query

__all__ = ("QueryRoute",)

_PRIVATE = (b"cache-control", b"private, no-cache")

_encode = msgspec.json.Encoder().encode


class QueryRoute:
    """Made once for each ``Query``. ``reader`` reads beside the writer, for listings."""

    def __init__(self, query: Query, writer: WriterPort, reader: Any, contexts: Contexts) -> None:
        self.query = query
        self.parameters = ParameterReader(query.params)
        self._writer = writer
        self._reader = reader
        self._contexts = contexts

    async def answer(
        self, scope: Scope, principal: Principal, headers: dict[bytes, bytes], parameters: dict[str, str]
    ) -> Reply:
        """Raises ``Rejected``."""
        params = self.parameters.read(parameters, scope["query_string"])
        context = self._contexts.of(principal)
        reply_headers: Headers = [JSON, _PRIVATE]
        if self.query.listing is not None:
            found = await self.query.listing(self._reader, context, params)
            return Reply(200, reply_headers, _encode(found))

        read = self.query.read
        assert read is not None
        if self.query.etag is None:
            return Reply(
                200, reply_headers, _encode(await self._writer.query(lambda view: read(view, context, params)))
            )

        table, key = self.query.etag(params)

        def both(view: Any) -> tuple[Image | None, Any]:
            # In one look, so that the ETag is that of the very row that was read.
            return view[table].image(key), read(view, context, params)

        image, found = await self._writer.query(both)
        if image is not None:
            etag = etag_of(image)
            reply_headers.append((b"etag", etag))
            if unchanged(headers.get(b"if-none-match"), etag):
                return Reply(304, reply_headers[1:], b"")
        return Reply(200, reply_headers, _encode(found))
