"""RFC 9457 problems: every stable code that this node answers with, in one place.

Codes of service modules are merged in (``Module.problems``). ``type`` is a relative address that this node serves
itself.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import NamedTuple

import msgspec
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from jilnode.http.reply import PROBLEM_JSON, REPLAYED, Headers, Reply
from jilnode.kernel.errors import Rejected
from jilnode.module import Module

__all__ = ("CORE_PROBLEMS", "HttpRejected", "ProblemBook", "ProblemType")

_log = logging.getLogger(__name__)
_CODE = re.compile(r"[a-z][a-z0-9_]{2,63}")
_STANDARD_MEMBERS = frozenset({"type", "title", "status", "detail", "instance", "code", "field", "trace_id"})


class ProblemType(NamedTuple):
    """``status`` is the usual one; None where the refusing module chooses it."""

    code: str
    title: str
    status: int | None
    module: str = "jilnode"


CORE_PROBLEMS = tuple(
    ProblemType(code, title, status)
    for status, code, title in (
        (400, "bad_json", "The body is not acceptable JSON"),
        (400, "bad_request", "The request does not have the documented form"),
        (400, "idempotency_key_required", "Writes need an Idempotency-Key header"),
        (400, "idempotency_key_invalid", "The Idempotency-Key is not 1 to 255 visible ASCII characters"),
        (401, "token_missing", "A bearer token is required"),
        (401, "token_invalid", "The bearer token is not accepted"),
        (401, "token_expired", "The bearer token has expired"),
        (403, "insufficient_scope", "The token lacks the scope that this route needs"),
        (403, "zone_error", "The rules of a zone failed, so the action is refused"),
        (403, "zone_unavailable", "This node has no rules for a zone that the action touches"),
        (404, "not_found", "There is nothing at this address"),
        (405, "method_not_allowed", "This address does not take this method"),
        (408, "request_timeout", "The request did not arrive in time"),
        (409, "idempotency_key_reused", "The Idempotency-Key was used for another request"),
        (409, "outcome_unknown", "Another node must first tell what became of this request"),
        (409, "not_suspended", "The source is not set aside, so there is nothing to release"),
        (409, "own_source", "A node does not release itself"),
        (410, "position_gone", "The stream can't be resumed from this position"),
        (412, "precondition_failed", "The row is no longer what If-Match says"),
        (413, "body_too_large", "The body is larger than this node takes"),
        (413, "event_too_large", "The command would change more than one event can hold"),
        (415, "unsupported_media_type", "The body must be application/json"),
        (421, "misdirected", "Another node owns this"),
        (422, "gone", "The row is gone"),
        (422, "value_too_long", "A searchable value is too long"),
        (429, "rate_limited", "Too many requests from this address"),
        (429, "too_many_client_connections", "This address has as many connections as one may"),
        (429, "too_many_streams", "The subject of this token has as many event streams as one may"),
        (431, "headers_too_large", "The request's headers are larger than this node takes"),
        (500, "internal_error", "The node failed to answer; the failure is recorded"),
        (500, "invariant_broken", "The command would have broken an invariant; nothing was changed"),
        (502, "owner_unreachable", "The owner of this did not answer the forwarded request"),
        (503, "authentication_unavailable", "The node has no keys to check tokens with"),
        (503, "command_too_wide", "The command needs more rows than one command may load"),
        (503, "commit_failed", "The database did not take it; nothing was changed"),
        (503, "not_writable", "The node does not take writes now"),
        (503, "query_too_wide", "The query needs more rows than one query may load"),
        (503, "queue_full", "The node has too much to do"),
        (503, "resident_full", "The node keeps as much in memory as others take of it"),
        (503, "stream_full", "The node serves as many event streams as it can"),
        (503, "unknown_command", "The answer is that of a module which this node does not have"),
        (503, "too_many_connections", "The node serves as many connections as it can"),
    )
)


class HttpRejected(Rejected):
    """A refusal that also sets headers."""

    def __init__(self, code: str, detail: str, *, status: int, headers: Headers, field: str | None = None) -> None:
        super().__init__(code, detail, status=status, field=field)
        self.headers = headers


class ProblemBook:
    """All problem types of this node, and how an exception becomes a reply."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self.types: dict[str, ProblemType] = {kind.code: kind for kind in CORE_PROBLEMS}
        for module in modules:
            for code, title in module.problems.items():
                if _CODE.fullmatch(code) is None:
                    raise ValueError(f"module {module.name}: {code!r} is not a problem code")
                # A module may word a problem of the core for its own case, but its title stays one for the whole node.
                self.types.setdefault(code, ProblemType(code, title, None, module.name))

    def listing(self) -> list[Mapping[str, object]]:
        return [self.page(code) for code in sorted(self.types)]

    def page(self, code: str) -> Mapping[str, object]:
        """Raises ``KeyError``."""
        kind = self.types[code]
        return {
            "type": f"/problems/{code}",
            "code": code,
            "title": kind.title,
            "status": kind.status,
            "module": kind.module,
        }

    def reply_to(self, error: BaseException, trace_id: str) -> Reply:
        rejected = error if isinstance(error, Rejected) else _rejection_of(error)
        if rejected is None:
            # The message may hold somebody's data: the log gets the type and the frames.
            _log.error("unhandled exception", exc_info=error, extra={"fields": {"trace_id": trace_id}})
            rejected = Rejected("internal_error", "The trace id finds it in this node's log.", status=500)
        return self._reply(rejected, trace_id)

    def _reply(self, rejected: Rejected, trace_id: str) -> Reply:
        kind = self.types.get(rejected.code)
        title = kind.title if kind is not None else HTTPStatus(rejected.status).phrase
        problem: dict[str, object] = {
            "type": f"/problems/{rejected.code}",
            "title": title,
            "status": rejected.status,
            "detail": rejected.detail,
            "code": rejected.code,
            "trace_id": trace_id,
        }
        if rejected.field is not None:
            problem["field"] = rejected.field
        problem.update((name, value) for name, value in rejected.extra.items() if name not in _STANDARD_MEMBERS)
        headers: Headers = [PROBLEM_JSON, (b"cache-control", b"no-store")]
        if rejected.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % rejected.retry_after_s))
        if rejected.replayed:
            headers.append(REPLAYED)
        if isinstance(rejected, HttpRejected):
            headers += rejected.headers
        return Reply(rejected.status, headers, msgspec.json.encode(problem))


def _rejection_of(error: BaseException) -> Rejected | None:
    """What the framework raises, in our words. None = our own failure."""
    if isinstance(error, NotFoundException):
        return Rejected("not_found", "No such address.", status=404)
    if isinstance(error, MethodNotAllowedException):
        return Rejected("method_not_allowed", "No such method here.", status=405)
    if isinstance(error, HTTPException) and 400 <= error.status_code < 500:
        return Rejected("bad_request", "The request can't be read.", status=400)
    return None
