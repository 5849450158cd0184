"""The OpenAPI 3.1 document, made from the modules' declarations.

Schemas come from msgspec itself, so the document says exactly what the decoder takes: bounds, unions, no unknown
fields.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from jilnode.http.assembly import resource_of
from jilnode.http.etags import ETAG_PATTERN
from jilnode.http.parameters import path_names
from jilnode.http.problems import ProblemBook
from jilnode.limits import BODY_BYTES_MAX, IDEMPOTENCY_KEY_CHARS_MAX, PAGE_ITEMS_MAX
from jilnode.module import Feed, Module, Query, Write

__all__ = ("Problem", "openapi_document", "template_of")

_REFERENCE = "#/components/schemas/{name}"
_WRITE_PROBLEMS = (400, 401, 403, 404, 409, 412, 413, 415, 421, 422, 429, 500, 503)
_READ_PROBLEMS = (400, 401, 403, 404, 410, 421, 422, 429, 500, 503)
_PUBLIC_PROBLEMS = (400, 404, 429, 500, 503)

_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of what this changes, asked for by its id; 412 when it is another by now.",
    "schema": {"type": "string", "pattern": ETAG_PATTERN},
}

_DESCRIPTION = f"""\
Amounts are decimal strings. Times are UTC. Errors are RFC 9457 problems with stable codes, listed at `/problems`.

**Writes** need an `Idempotency-Key`. The same key with the same body gets the same answer, also after a restart;
the same key with another body is refused with 409. `JIL-Entry` names the journal entry that a write became
(source/epoch/sequence) and `JIL-Finality` how final it is: `local` means durable at this node. A body has at most
{BODY_BYTES_MAX} bytes.

**421** means that another node owns what the request would change; the problem's `owner` and `address` say which.
Row keys hold slashes: send them as `%2F` inside a path.
"""

_FEED = (
    "A live feed: a snapshot, then what changes. Server-sent events; or, where the client upgrades, a WebSocket with"
    ' messages `{"id":...,"event":...,"data":...}`. The last event, or the reason of the close code, says why it ends:'
    " `overflow` (read faster), `token_expired`, `closing`, `failed`: connect again, with the last id."
)


class Problem(msgspec.Struct):
    """RFC 9457. Some problems have more members, such as `owner` and `address`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    trace_id: str
    field: str | None = None


def template_of(path: str) -> str:
    """The path as OpenAPI writes it: ``{name}`` without a kind."""
    for name in path_names(path):
        path = path.replace(f"{{{name}:path}}", f"{{{name}}}").replace(f"{{{name}:str}}", f"{{{name}}}")
    return path


def openapi_document(
    modules: Iterable[Module], book: ProblemBook, node_paths: Mapping[str, Any], version: str
) -> dict[str, Any]:
    """``node_paths`` are the node's own addresses, already in OpenAPI's form."""
    modules = list(modules)
    types: list[Any] = [Problem]
    for module in modules:
        for write in module.writes:
            types += (write.body, write.reply)
        for query in module.queries:
            types += (query.params, query.reply)
        for feed in module.feeds:
            types += (feed.params, feed.message)
    types = list(dict.fromkeys(types))
    found, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    schemas = dict(zip(types, found, strict=True))

    paths: dict[str, Any] = {path: dict(operations) for path, operations in node_paths.items()}
    for module in modules:
        for write in module.writes:
            operation = _write_operation(module, write, schemas)
            paths.setdefault(template_of(write.path), {})[write.method.lower()] = operation
        for query in module.queries:
            operation = _query_operation(module, query, schemas[query.reply])
            paths.setdefault(template_of(query.path), {})["get"] = operation
        for feed in module.feeds:
            operation = _feed_operation(module, feed, schemas[feed.message])
            paths.setdefault(template_of(feed.path), {})["get"] = operation
    for operations in paths.values():
        for operation in operations.values():
            _add_problems(operation)

    used = _referenced({"paths": paths}, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "jilnode", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [*({"name": module.name} for module in modules), {"name": "node"}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name in used},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "JWT signed with EdDSA or ES256; scopes in the claim `scope`, separated by spaces.",
                }
            },
        },
        "x-problem-codes": sorted(book.types),
    }


def _write_operation(module: Module, write: Write, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    operation = _plain_write_operation(module, write, schemas)
    if resource_of(module, write) is not None:
        operation["parameters"].append(_IF_MATCH)
        operation["responses"][str(write.status)]["headers"]["ETag"] = _header("owner:epoch:sequence of the row")
    return operation


def _plain_write_operation(module: Module, write: Write, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        **_common(module, write.summary, write.description, write.scope),
        "operationId": _operation_id(module, write.method, write.path),
        "parameters": [
            *_path_parameters(write.path),
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "description": "Your own id of this request. Use it again to retry.",
                "schema": {
                    "type": "string",
                    "pattern": "^[!-~]+$",
                    "minLength": 1,
                    "maxLength": IDEMPOTENCY_KEY_CHARS_MAX,
                },
                "example": "2f1c9a54-order-17",
            },
            {
                "name": "JIL-Session",
                "in": "header",
                "description": "The node at which your session was opened: the first part of the JIL-Entry of its first"
                " answer. Another node then never does what that one may have done already.",
                "schema": {"type": "string", "pattern": "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"},
            },
        ],
        "requestBody": {"required": True, "content": _content(schemas[write.body], write.example)},
        "responses": {
            str(write.status): {
                "description": "Durable at this node.",
                "headers": {
                    "JIL-Entry": _header("source/epoch/sequence of the journal entry"),
                    "JIL-Finality": _header("`local`: durable at this node"),
                    "Idempotency-Replayed": _header("`true` when this is the answer to an earlier request"),
                },
                "content": _content(schemas[write.reply], write.reply_example),
            }
        },
        "x-problems": _WRITE_PROBLEMS,
    }


def _query_operation(module: Module, query: Query, reply: Any) -> dict[str, Any]:
    parameters = _parameters(query)
    shown = {} if query.example is None else msgspec.to_builtins(query.example)
    for parameter in parameters:
        if parameter["required"] and parameter["name"] in shown:
            parameter["example"] = shown[parameter["name"]]
    responses: dict[str, Any] = {
        "200": {"description": "Committed state.", "content": _content(reply, query.reply_example)}
    }
    if query.etag is not None:
        parameters.append({"name": "If-None-Match", "in": "header", "required": False, "schema": {"type": "string"}})
        responses["200"]["headers"] = {"ETag": _header("owner:epoch:sequence of the row")}
        responses["304"] = {"description": "The row is still what If-None-Match says."}
    return {
        **_common(module, query.summary, query.description, query.scope),
        "operationId": _operation_id(module, "GET", query.path),
        "parameters": parameters,
        "responses": responses,
        "x-problems": _READ_PROBLEMS,
    }


def _feed_operation(module: Module, feed: Feed, message: Any) -> dict[str, Any]:
    resume = "Resume after this frame: what was missed follows, or a snapshot where it is no longer here."
    parameters = _parameters(feed)
    for name, place in (("Last-Event-ID", "header"), ("after", "query")):
        parameters.append(
            {"name": name, "in": place, "required": False, "description": resume, "schema": {"type": "string"}}
        )
    content = {"text/event-stream": _content(message, feed.example)["application/json"]}
    return {
        **_common(module, feed.summary, "\n\n".join(filter(None, (feed.description, _FEED))), feed.scope),
        "operationId": _operation_id(module, "GET", feed.path),
        "parameters": parameters,
        "responses": {
            "101": {"description": "The WebSocket."},
            "200": {"description": "The stream; the schema is that of each event's `data`.", "content": content},
        },
        "x-problems": _READ_PROBLEMS,
    }


def _parameters(route: Query | Feed) -> list[dict[str, Any]]:
    """Those of the path, and those of the query."""
    in_path = path_names(route.path)
    (_,), components = msgspec.json.schema_components([route.params], ref_template=_REFERENCE)
    schema = components[route.params.__name__]
    return _path_parameters(route.path, schema["properties"]) + [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": _bounded(name, kind)}
        for name, kind in schema["properties"].items()
        if name not in in_path
    ]


def _common(module: Module, summary: str, description: str, scope: str) -> dict[str, Any]:
    text = f"{description}\n\nScope: `{scope}`." if description else f"Scope: `{scope}`."
    return {"tags": [module.name], "summary": summary, "description": text, "security": [{"bearer": []}]}


def _path_parameters(path: str, schemas: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": (schemas or {}).get(name, {"type": "string"})}
        for name in path_names(path)
    ]


def _bounded(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """As it is read (``ParameterReader``): of a page's size the bounds are everybody's."""
    sendable = _sendable(schema)
    if name == "limit" and sendable.get("type") == "integer":
        return {**sendable, "minimum": 1, "maximum": PAGE_ITEMS_MAX}
    return sendable


def _sendable(schema: dict[str, Any]) -> dict[str, Any]:
    """Without null: a query can leave a parameter out, but can't say null."""
    kept = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kept) != 1:
        return schema
    others = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**others, **kept[0]}


def _add_problems(operation: dict[str, Any]) -> None:
    """One shared form for every refusal, under each status that may come."""
    statuses = operation.pop("x-problems", _PUBLIC_PROBLEMS)
    content = {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(name="Problem")}}}
    for status in statuses:
        operation["responses"].setdefault(str(status), {"description": "A problem.", "content": content})


def _content(schema: Any, example: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": schema}
    if example is not None:
        content["examples"] = {"example": {"value": msgspec.to_builtins(example)}}
    return {"application/json": content}


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _operation_id(module: Module, method: str, path: str) -> str:
    words = [part.strip("{}").partition(":")[0] for part in path.split("/") if part]
    return "_".join((module.name, method.lower(), *words)).replace("-", "_")


def _referenced(document: Any, components: Mapping[str, Any]) -> set[str]:
    """Names of the schemas that ``document`` refers to, through other schemas too."""
    found: set[str] = set()
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str):
                name = reference.rpartition("/")[2]
                if name not in found:
                    found.add(name)
                    waiting.append(components[name])
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
    return found
