"""A request's body: how much of it, of what type, and what is in it."""

import re
from typing import Any

import msgspec
from litestar.types import Receive

from jilnode.http.problems import HttpRejected
from jilnode.kernel.codec import guard_json
from jilnode.kernel.errors import Rejected
from jilnode.limits import BODY_BYTES_MAX

__all__ = ("check_json", "decode", "pointer_of", "read_body", "too_large")

_AT = re.compile(r"^(.*?)(?: - at `(key in )?\$(.*?)`)?$", re.DOTALL)
_NAMED_FIELD = re.compile(r"(?:missing required|contains unknown) field `(.*)`")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


def check_json(content_type: bytes | None) -> None:
    """Raises ``Rejected`` (415)."""
    if content_type == b"application/json":
        return
    kind, _, parameters = (content_type or b"").lower().partition(b";")
    if kind.strip() != b"application/json" or parameters.strip() not in (b"", b"charset=utf-8", b'charset="utf-8"'):
        raise Rejected("unsupported_media_type", "Send application/json in UTF-8.", status=415)


async def read_body(receive: Receive, content_length: bytes | None) -> bytes:
    """Raises ``Rejected`` (413). How long it may take is the server's business: it sees every byte come in."""
    if content_length is not None and int(content_length) > BODY_BYTES_MAX:
        raise too_large()
    message = await receive()
    if message["type"] != "http.request":
        raise _gone()
    body = message["body"]
    if message.get("more_body", False):
        pieces = [body]
        size = len(body)
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise _gone()
            more = message.get("more_body", False)
            pieces.append(message["body"])
            size += len(message["body"])
            if size > BODY_BYTES_MAX:
                raise too_large()
        body = b"".join(pieces)
    if len(body) > BODY_BYTES_MAX:
        raise too_large()
    return body


def _gone() -> Rejected:
    # For the log and the metrics: nobody is there to read it.
    return Rejected("request_timeout", "The client went away before its request was whole.", status=408)


def too_large() -> HttpRejected:
    # The rest of the body is not wanted, so the connection can't be used again.
    return HttpRejected(
        "body_too_large", f"At most {BODY_BYTES_MAX} bytes.", status=413, headers=[(b"connection", b"close")]
    )


def decode(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> Any:
    """Raises ``Rejected`` (400) for malformed JSON, for values that no database takes, and for what the type
    forbids.
    """
    try:
        value = decoder.decode(body)
        guard_json(body)
    except msgspec.ValidationError as error:
        text, pointer = pointer_of(error)
        raise Rejected("bad_request", text, status=400, field=pointer) from error
    except msgspec.DecodeError as error:
        raise Rejected("bad_json", str(error), status=400) from error
    except UnicodeDecodeError as error:
        raise Rejected("bad_json", "The body is not UTF-8.", status=400) from error
    except RecursionError as error:
        raise Rejected("bad_json", "The body is nested too deeply.", status=400) from error
    except Rejected as rejected:
        rejected.status = 400
        raise
    return value


def pointer_of(error: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong, and the JSON pointer to where: ``$.legs[2].amount`` becomes ``/legs/2/amount``."""
    match = _AT.match(str(error))
    assert match is not None
    text, _, path = match.groups()
    pointer = ""
    for name, index in _STEP.findall(path or ""):
        if index == "...":
            # A key of a free-form object: its name is the client's, and the error does not tell it.
            break
        pointer += "/" + (index or name.replace("~", "~0").replace("/", "~1"))
    if (named := _NAMED_FIELD.search(text)) is not None:
        pointer += "/" + named.group(1).replace("~", "~0").replace("/", "~1")
    return f"{text}.", pointer or "/"
