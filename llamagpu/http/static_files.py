"""Static files from memory, compressed where that makes them smaller.

ServeStatic compresses nothing by itself, and reads a file in pieces of 8 KB, each by a thread. Here the
first caller of a file has it read and compressed once: a page of thirty files then costs a third of the
bytes and no thread. Like ServeStatic's own table of files that lasts until the process ends.
"""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass
from pathlib import Path

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.http import parse_etags
from servestatic.middleware import ServeStaticMiddleware
from servestatic.responders import StaticFile
from servestatic.utils import parse_accept_encoding

_GZIP = "gzip"
# Larger ones, which are source maps, stay on the disk.
_LARGEST = 2 << 20
# Less of a saving is not worth the browser's time.
_LARGEST_SHARE = 0.9
# Fonts and pictures hold nothing that could be made smaller.
_COMPRESSED_ALREADY = (".woff", ".woff2", ".png")


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file's bytes as they go out, and the headers that go with them."""

    content: bytes
    headers: dict[str, str]

    @property
    def is_compressed(self) -> bool:
        return "Content-Encoding" in self.headers

    def answer(self, request: HttpRequest) -> HttpResponse:
        """The file, or that the caller has it already."""
        etag = self.headers.get("ETag")
        known = parse_etags(request.META.get("HTTP_IF_NONE_MATCH", ""))
        is_known = etag in known or "*" in known
        response = HttpResponse(b"" if is_known else self.content, status=304 if is_known else 200)
        del response["Content-Type"]
        for name, value in self.headers.items():
            if not is_known or name in ("ETag", "Cache-Control", "Vary"):
                response[name] = value
        return response


class HeldStaticMiddleware(ServeStaticMiddleware):
    """ServeStatic with a memory. Who asks for a part, or takes no gzip, gets ServeStatic's answer."""

    _held: dict[str, HeldFile]

    def initialize(self) -> None:
        self._held = {}

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        file = self.files.get(request.path_info)
        if file is None or not isinstance(file, StaticFile) or not _wants_whole(request):
            return await super().__call__(request)
        held = self._held.get(request.path_info)
        if held is None:
            held = await asyncio.to_thread(_hold, file)
            if held is None:
                return await super().__call__(request)
            self._held[request.path_info] = held
        if held.is_compressed and not _takes_gzip(request):
            return await super().__call__(request)
        return held.answer(request)


def _hold(file: StaticFile) -> HeldFile | None:
    """The file, read. None for one that is too large, or gone."""
    _, name, headers = file.alternatives[-1]  # the smallest first, the file itself last
    path = Path(name)
    try:
        if path.stat().st_size > _LARGEST:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    shown = {key: value for key, value in headers if value is not None}
    if path.suffix not in _COMPRESSED_ALREADY:
        smaller = gzip.compress(content, mtime=0)
        if len(smaller) < _LARGEST_SHARE * len(content):
            content = smaller
            shown |= {"Content-Encoding": _GZIP, "Vary": "Accept-Encoding"}
            # Other bytes, so another tag.
            shown["ETag"] = f'"{shown.get("ETag", "").strip(chr(34))}-{_GZIP}"'
    return HeldFile(content, shown | {"Content-Length": str(len(content))})


def _wants_whole(request: HttpRequest) -> bool:
    return request.method == "GET" and "HTTP_RANGE" not in request.META


def _takes_gzip(request: HttpRequest) -> bool:
    return _GZIP in parse_accept_encoding(request.META.get("HTTP_ACCEPT_ENCODING", ""))
