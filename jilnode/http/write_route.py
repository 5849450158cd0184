"""A write: one request becomes one command (or a few, for a batch), and its answer after the commit."""

import asyncio
import re
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from jilnode.http import trace
from jilnode.http.auth import Principal
from jilnode.http.body import check_json, decode
from jilnode.http.etags import etag_of, expected
from jilnode.http.parameters import ParameterReader, path_names
from jilnode.http.ports import AnswerView, WriterPort
from jilnode.http.reply import JSON, REPLAYED, Headers, Reply
from jilnode.kernel.command import Submission, Touch
from jilnode.kernel.errors import Rejected
from jilnode.kernel.names import source_id
from jilnode.limits import IDEMPOTENCY_KEY_CHARS_MAX
from jilnode.module import Query, Write

__all__ = ("Asked", "WriteRoute")

_KEY = re.compile(rb"[\x21-\x7e]{1,%d}" % IDEMPOTENCY_KEY_CHARS_MAX)
_FINALITY = (b"jil-finality", b"local")

_encode = msgspec.json.Encoder().encode


class Asked(NamedTuple):
    """What of a request is not in its headers. ``path`` is decoded, ``query`` is not."""

    path: str
    query: bytes
    body: bytes


class WriteRoute:
    """Made once for each ``Write``. ``answer`` is the whole way of a request behind the framework; a hot write takes
    the same steps (``submission``, ``submit``, ``reply``) without it.

    ``resource`` is the query whose ETag ``If-Match`` is about: ``resource_of`` says which.
    """

    def __init__(self, write: Write, writer: WriterPort, resource: Query | None = None) -> None:
        self.write = write
        self.scope = write.scope
        self._writer = writer
        self._decoder = msgspec.json.Decoder(write.body)
        self._fixed_path = not path_names(write.path)
        self._method = write.method.encode()
        self._body_prefix = sha256(self._method + b"\x00" + write.path.encode() + b"\x00")
        self._resource = resource
        self._resource_reader = ParameterReader(resource.params) if resource is not None else None

    def submission(
        self, asked: Asked, principal: Principal, headers: dict[bytes, bytes], parameters: dict[str, str]
    ) -> Submission:
        """What the request asks for, with its key. Raises ``Rejected``."""
        key = headers.get(b"idempotency-key")
        if key is None:
            raise Rejected("idempotency_key_required", "Send Idempotency-Key: <your id of this request>.", status=400)
        if _KEY.fullmatch(key) is None:
            raise Rejected("idempotency_key_invalid", "1 to 255 visible ASCII characters.", status=400)
        check_json(headers.get(b"content-type"))
        if b"content-encoding" in headers:
            raise Rejected("unsupported_media_type", "Send the body as it is, not compressed.", status=415)
        if asked.query:
            raise Rejected("bad_request", "This address takes no query.", status=400)
        value = decode(self._decoder, asked.body)
        body_hash = self._body_prefix.copy()
        if not self._fixed_path:
            body_hash = sha256(self._method + b"\x00" + asked.path.encode() + b"\x00")
        body_hash.update(asked.body)
        expected_etag = None
        if b"if-match" in headers:
            if self._resource is None:
                raise Rejected("precondition_failed", "What is at this address has no ETag.", status=412)
            expected_etag = {self._touch(parameters): expected(headers[b"if-match"])}
        if self.write.command is not None and self.write.split is None:
            value = self.write.command(parameters, value)
        traceparent = headers.get(b"traceparent")
        return Submission(
            value,
            principal.subject,
            principal.scopes,
            _key_hash(principal, key),
            body_hash.digest(),
            None if traceparent is None else trace.accepted(traceparent),
            expected_etag,
            _session(headers.get(b"jil-session")),
        )

    def submit(self, submission: Submission) -> "asyncio.Future[AnswerView]":
        """Of a write that is one command. Raises ``Rejected``."""
        return self._writer.submit_nowait(submission)

    def reply(self, answer: AnswerView) -> Reply:
        return Reply(answer.status, _headers_of(answer), _encode(answer.reply))

    async def answer(
        self, asked: Asked, principal: Principal, headers: dict[bytes, bytes], parameters: dict[str, str]
    ) -> Reply:
        """Raises ``Rejected``."""
        submission = self.submission(asked, principal, headers, parameters)
        if self.write.split is not None:
            key = headers[b"idempotency-key"]
            return await self._answer_chunks(
                submission, principal, key, self.write.split(submission.command), parameters
            )
        answer = await self.submit(submission)
        reply = self.reply(answer)
        if self._resource is not None:
            await self._add_etag(reply.headers, self._touch(parameters), answer)
        return reply

    async def _answer_chunks(
        self, whole: Submission, principal: Principal, key: bytes, bodies: list[Any], parameters: dict[str, str]
    ) -> Reply:
        """Each chunk is a command with a key of its own, so a retry after a failure half-way does only what is left."""
        futures: list[asyncio.Future[AnswerView]] = []
        refused: Rejected | None = None
        for number, body in enumerate(bodies):
            try:
                command = body if self.write.command is None else self.write.command(parameters, body)
                submission = Submission(
                    command=command,
                    actor=whole.actor,
                    scopes=whole.scopes,
                    key_hash=_key_hash(principal, b"%b#%d" % (key, number)),
                    body_hash=whole.body_hash,
                    traceparent=whole.traceparent,
                    expected_etag=whole.expected_etag,
                    session=whole.session,
                )
                futures.append(self._writer.submit_nowait(submission))
            except Rejected as rejected:
                refused = rejected
                break
        answers: list[AnswerView] = []
        for outcome in await asyncio.gather(*futures, return_exceptions=True):
            if isinstance(outcome, BaseException):
                if not isinstance(outcome, Rejected):
                    raise outcome
                refused = refused or outcome
            else:
                answers.append(outcome)
        if refused is not None:
            refused.extra.update(chunks=len(bodies), chunks_done=len(answers))
            raise refused
        assert self.write.join is not None
        joined = self.write.join([answer.reply for answer in answers])
        headers: Headers = [JSON, (b"jil-entry", b", ".join(map(_entry_of, answers))), _FINALITY]
        if all(answer.replayed for answer in answers):
            headers.append(REPLAYED)
        return Reply(answers[0].status, headers, _encode(joined))

    def _touch(self, parameters: dict[str, str]) -> Touch:
        assert self._resource is not None
        assert self._resource.etag is not None
        assert self._resource_reader is not None
        return self._resource.etag(self._resource_reader.read(parameters, b""))

    async def _add_etag(self, headers: Headers, touch: Touch, answer: AnswerView) -> None:
        """The row's ETag, if this very entry made the row what it is."""
        image = await self._writer.image(*touch)
        if image is not None and (image.owner, image.epoch, image.sequence) == (
            answer.source,
            answer.epoch,
            answer.sequence,
        ):
            headers.append((b"etag", etag_of(image)))


def _session(header: bytes | None) -> str:
    if header is None:
        return ""
    try:
        text = header.decode("ascii")
        if source_id(text) == text:
            return text
    except ValueError:
        pass
    raise Rejected("bad_request", "JIL-Session is the id of a node.", status=400, field="/JIL-Session")


def _key_hash(principal: Principal, key: bytes) -> bytes:
    digest = principal.key_prefix.copy()
    digest.update(key)
    return digest.digest()


def _entry_of(answer: AnswerView) -> bytes:
    return b"%b/%d/%d" % (answer.source.encode(), answer.epoch, answer.sequence)


def _headers_of(answer: AnswerView) -> Headers:
    headers: Headers = [JSON, (b"jil-entry", _entry_of(answer)), _FINALITY]
    if answer.replayed:
        headers.append(REPLAYED)
    return headers
