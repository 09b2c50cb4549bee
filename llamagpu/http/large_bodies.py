"""The one address whose bodies may pass the common limit, and how such a body reaches its view.

It stays in the file to which the web server has written it: the queue between server and application
would hold it in memory as a whole.
"""

from __future__ import annotations

from typing import IO, Any

#: Method, path and the setting that bounds the file in the body.
LARGE_BODY = ("POST", "/v1/files", "max_file_bytes")
#: What may stand around the file: boundaries, names, other fields.
FRAME_BYTES = 64 * 1024
_EXTENSION = "llamagpu.body"


def is_large(method: bytes, path: bytes) -> bool:
    """Whether a request's body may be as large as a file; `path` may have a query behind it."""
    return (method.decode("latin-1"), path.partition(b"?")[0].decode("latin-1")) == LARGE_BODY[:2]


def attach_body(scope: dict[str, Any], body: IO[bytes], size: int) -> None:
    """Let the application find a body as a file. A chunked one has a length from here on."""
    scope.setdefault("extensions", {})[_EXTENSION] = body
    headers = [header for header in scope["headers"] if header[0] != b"content-length"]
    scope["headers"] = [*headers, (b"content-length", b"%d" % size)]


def attached_body(request: Any) -> IO[bytes] | None:
    """The body of a request as a file, where the web server has attached one."""
    extensions: dict[str, Any] = getattr(request, "scope", {}).get("extensions") or {}
    return extensions.get(_EXTENSION)
