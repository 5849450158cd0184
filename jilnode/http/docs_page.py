"""The documentation page: a viewer that is part of the node, with no request to anybody else."""

from importlib.resources import files

from jilnode.http.reply import Headers, Reply

__all__ = ("docs_page", "docs_viewer")

_VIEWER = files("jilnode.http") / "static" / "rapidoc-min.js"
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; img-src 'self' data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE: Headers = [
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>jilnode: HTTP interface</title>
<link rel="icon" href="data:,">
<script type="module" src="/docs/viewer.js"></script>
</head>
<body>
<rapi-doc spec-url="/openapi.json" render-style="read" theme="light" load-fonts="false" show-header="false"
 regular-font="system-ui, sans-serif" mono-font="ui-monospace, monospace" primary-color="#1f5fa8"
 allow-server-selection="false" schema-style="table" sort-tags="false" update-route="true"
 persist-auth="false"></rapi-doc>
</body>
</html>
"""


def docs_page() -> Reply:
    return Reply(200, [(b"content-type", b"text/html; charset=utf-8"), *_SAFE], _PAGE)


def docs_viewer() -> Reply:
    headers: Headers = [
        (b"content-type", b"text/javascript; charset=utf-8"),
        (b"cache-control", b"max-age=86400"),
        *_SAFE,
    ]
    return Reply(200, headers, _VIEWER.read_bytes())
