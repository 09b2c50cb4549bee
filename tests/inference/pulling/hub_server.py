"""A small hub on this machine: lists one repository and serves its files, badly where it is told to."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
REPOSITORY = "org/tiny"
BIG = 1000


@dataclass
class Hub:
    """`files` by name; what goes wrong is switched on by the other fields."""

    files: dict[str, bytes]
    url: str = ""
    token: str = ""
    cut_after: int | None = None
    cut_file: str = "model.safetensors"
    cuts: int = 1
    status: int = 0
    status_times: int = 0
    ignores_ranges: bool = False
    wrong_content: str = ""
    hold: threading.Event | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)

    def info(self) -> dict[str, Any]:
        return {"id": REPOSITORY, "sha": COMMIT, "siblings": [self._sibling(n) for n in self.files]}

    def _sibling(self, name: str) -> dict[str, Any]:
        data = self.files[name]
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        found: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git}
        if len(data) > BIG:
            sha256 = hashlib.sha256(data).hexdigest()
            found["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 130}
        return found

    @property
    def ranges(self) -> list[str]:
        return [asked for _, asked in self.asked if asked]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def serve(hub: Hub) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/models/"):
            self._answer_info(path)
        elif path.startswith(f"/{REPOSITORY}/resolve/{COMMIT}/"):
            self._redirect(path.rpartition("/")[2])
        elif path.startswith("/cdn/"):
            self._send_file(path.removeprefix("/cdn/"))
        else:
            self._json(404, {"error": "Entry not found"})

    def _answer_info(self, path: str) -> None:
        repository, _, revision = path.removeprefix("/api/models/").partition("/revision/")
        if not self._may_pass():
            self._json(401, {"error": "no"}, {"X-Error-Code": "GatedRepo"})
        elif repository != REPOSITORY:
            self._json(404, {"error": "no"}, {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", "v1", COMMIT):
            self._json(404, {"error": "no"}, {"X-Error-Code": "RevisionNotFound"})
        else:
            self._json(200, self.hub.info())

    def _may_pass(self) -> bool:
        return not self.hub.token or self.headers["Authorization"] == f"Bearer {self.hub.token}"

    def _redirect(self, name: str) -> None:
        self.hub.asked.append((name, self.headers["Range"]))
        if not self._may_pass():
            self._json(403, {"error": "no"})
            return
        # Another host to the client, as the stores of real hubs are.
        address = self.hub.url.replace("127.0.0.1", "localhost")
        self._json(302, {}, {"Location": f"{address}/cdn/{name}"})

    def _send_file(self, name: str) -> None:
        if self.headers["Authorization"]:
            self.hub.leaked.append(name)
        if self.hub.status_times > 0:
            self.hub.status_times -= 1
            self._json(self.hub.status, {}, {"Retry-After": "0"})
            return
        data = self.hub.files[name]
        if name == self.hub.wrong_content:
            data = bytes(len(data))
        begin = 0
        if self.headers["Range"] and not self.hub.ignores_ranges:
            begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        self._write(name, data[begin:])

    def _write(self, name: str, data: bytes) -> None:
        if self.hub.cut_after is not None and self.hub.cuts > 0 and name == self.hub.cut_file:
            self.hub.cuts -= 1
            self.wfile.write(data[: self.hub.cut_after])
            self.wfile.flush()
            if self.hub.hold is not None:
                self.hub.hold.wait(30)
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(data)

    def _json(
        self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        """Silent."""
