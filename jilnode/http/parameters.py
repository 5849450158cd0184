"""Path and query parameters: text from the address, converted to the declared Struct."""

import re
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from jilnode.http.body import pointer_of
from jilnode.kernel.errors import Rejected
from jilnode.limits import INT64_MAX, INT64_MIN, PAGE_ITEMS_MAX

__all__ = ("ParameterReader", "decoded_path", "is_alias", "path_names", "router_path", "whole_segments")

_PARAMETER = re.compile(r"\{([a-z_]+)(?::(str|path))?\}")
_ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)


def path_names(path: str) -> tuple[str, ...]:
    return tuple(match.group(1) for match in _PARAMETER.finditer(path))


def router_path(path: str) -> str:
    """``/v1/accounts/{account}`` as the router wants it."""
    return _PARAMETER.sub(lambda match: f"{{{match.group(1)}:{match.group(2) or 'str'}}}", path)


def decoded_path(raw_path: bytes) -> str:
    """The path without percent-encoding, but for an encoded slash: row keys hold slashes and must stay one segment."""
    # What is encoded twice stays so once: it is no slash.
    parts = [unquote(part).replace("%2F", "%252F") for part in _ENCODED_SLASH.split(raw_path.decode("ascii"))]
    return "%2F".join(parts)


def is_alias(raw_path: bytes) -> bool:
    """Whether the framework would take it for another path, without its empty segments: whoever guards this node by
    addresses would not."""
    return b"//" in raw_path or (len(raw_path) > 1 and raw_path.endswith(b"/"))


def whole_segments(parameters: dict[str, Any]) -> dict[str, str]:
    """Path parameters with their slashes. Raises ``Rejected`` for control characters."""
    values: dict[str, str] = {}
    for name, value in parameters.items():
        text = str(value).replace("%2F", "/").lstrip("/")
        _check_text(name, text)
        values[name] = text
    return values


class ParameterReader:
    """Reads ``params`` from path and query. What is not declared is refused: a mistyped filter must not select
    everything.
    """

    def __init__(self, params: type[Any]) -> None:
        self._params = params
        self._fields: dict[str, msgspec.inspect.Field] = {}
        info = msgspec.inspect.type_info(params)
        assert isinstance(info, msgspec.inspect.StructType)
        for field in info.fields:
            self._fields[field.encode_name] = field

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._fields)

    def read(self, path: dict[str, str], query: bytes) -> Any:
        """Raises ``Rejected`` (400)."""
        values: dict[str, Any] = dict(path)
        if query:
            self._read_query(query, values)
        try:
            found = msgspec.convert(values, self._params, strict=False)
        except msgspec.ValidationError as error:
            text, pointer = pointer_of(error)
            raise Rejected("bad_request", text, status=400, field=pointer) from error
        for name in found.__struct_fields__:
            value = getattr(found, name)
            if type(value) is int and not INT64_MIN <= value <= INT64_MAX:
                raise Rejected("bad_request", "The number is beyond 64 bits.", status=400, field=f"/{name}")
            if name == "limit" and isinstance(value, int) and not 1 <= value <= PAGE_ITEMS_MAX:
                raise Rejected("bad_request", f"From 1 to {PAGE_ITEMS_MAX}.", status=400, field="/limit")
        return found

    def _read_query(self, query: bytes, values: dict[str, Any]) -> None:
        try:
            pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
        except ValueError as error:
            raise Rejected("bad_request", "The query can't be read.", status=400) from error
        for name, value in pairs:
            field = self._fields.get(name)
            if field is None:
                known = ", ".join(sorted(self._fields)) or "none"
                raise Rejected(
                    "bad_request", f"There is no such parameter; known: {known}.", status=400, field="/" + name
                )
            _check_text(name, value)
            if _is_list(field.type):
                values.setdefault(name, []).append(value)
            elif name in values:
                raise Rejected("bad_request", "The parameter is given twice.", status=400, field="/" + name)
            else:
                values[name] = value


def _check_text(name: str, text: str) -> None:
    if any(character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in text):
        raise Rejected("bad_request", "Control characters are refused.", status=400, field=f"/{name}")


def _is_list(kind: msgspec.inspect.Type) -> bool:
    listed = (
        msgspec.inspect.ListType,
        msgspec.inspect.VarTupleType,
        msgspec.inspect.SetType,
        msgspec.inspect.FrozenSetType,
    )
    if isinstance(kind, msgspec.inspect.UnionType):
        return any(isinstance(part, listed) for part in kind.types)
    return isinstance(kind, listed)
