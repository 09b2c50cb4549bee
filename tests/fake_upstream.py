"""A server of OpenAI's API that does as it is told, well or badly: `upstream.will(status(429), say("hi"))`.

Each POST takes the next behaviour; the last one stays.
"""

from __future__ import annotations

import json
import select
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "org/Some-Model"
Behaviour = Callable[["Handler"], None]


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: FakeUpstream
    asked: Asked

    def do_GET(self) -> None:
        self.upstream.probes.append(self.path)
        self.upstream.listing(self)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked = Asked(self.path, headers, body)
        with self.upstream.lock:
            self.upstream.asked.append(self.asked)
            queue = self.upstream.behaviours
            behaviour = queue.pop(0) if len(queue) > 1 else queue[0]
        try:
            behaviour(self)
        except OSError:
            self.close_connection = True

    def reply(self, code: int, body: bytes, content_type: str, headers: dict[str, str]) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def event(self, value: Any) -> None:
        self.chunk(f"data: {json.dumps(value)}\n\n".encode())

    def word(self, text: str, index: int = 0, **fields: Any) -> None:
        is_chat = self.path.endswith("/chat/completions")
        said = {"delta": {"content": text}} if is_chat else {"text": text}
        self.event({"choices": [{"index": index, **said, "finish_reason": None, **fields}]})

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what the tests are about."""


class FakeUpstream:
    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        handler = type("BoundHandler", (Handler,), {"upstream": self})
        self._server = Server(("127.0.0.1", 0), handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.lock = threading.Lock()
        self.probes: list[str] = []
        self.asked: list[Asked] = []
        self.behaviours: list[Behaviour] = [say("hello")]
        self.listing: Behaviour = models(MODEL)
        self.hung_up = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05])
        self._thread.start()

    def will(self, *behaviours: Behaviour) -> None:
        self.behaviours[:] = behaviours

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def models(*names: str, **fields: Any) -> Behaviour:
    body = json.dumps({"object": "list", "data": [{"id": name, **fields} for name in names]})
    return lambda handler: handler.reply(200, body.encode(), "application/json", {})


def status(code: int, body: Any = None, **headers: str) -> Behaviour:
    data = json.dumps(body if body is not None else {"error": {"message": f"no: {code}"}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.reply(code, data, "application/json", named)


def say(
    *words: str, usage: Any = (7, None, 3), reason: str = "stop", done: bool = True
) -> Behaviour:
    """`usage` are the tokens of prompt, answer (None: as many as words) and cache; None tells none."""

    def behave(handler: Handler) -> None:
        n = handler.asked.body.get("n", 1)
        handler.begin_stream()
        for word in words:
            for index in range(n):
                handler.word(word, index)
        for index in range(n):
            handler.event({"choices": [{"index": index, "delta": {}, "finish_reason": reason}]})
        if usage is not None:
            completion = len(words) * n if usage[1] is None else usage[1]
            counts = {"prompt_tokens": usage[0], "completion_tokens": completion}
            counts["prompt_tokens_details"] = {"cached_tokens": usage[2]}
            handler.event({"choices": [], "usage": counts})
        if done:
            handler.chunk(b"data: [DONE]\n\n")
        handler.chunk(b"")

    return behave


def send(*events: Any) -> Behaviour:
    """These events as they are, then the mark of the end."""

    def behave(handler: Handler) -> None:
        handler.begin_stream()
        for event in events:
            handler.chunk(event) if isinstance(event, bytes) else handler.event(event)
        handler.chunk(b"data: [DONE]\n\n")
        handler.chunk(b"")

    return behave


def cut_after(*words: str) -> Behaviour:
    """Breaks off without an end."""

    def behave(handler: Handler) -> None:
        handler.begin_stream()
        for word in words:
            handler.word(word)
        handler.close_connection = True
        handler.connection.close()

    return behave


def hang_after(*words: str, begins: bool = True) -> Behaviour:
    """Says nothing more until the client hangs up, which sets `hung_up`."""

    def behave(handler: Handler) -> None:
        if begins:
            handler.begin_stream()
        for word in words:
            handler.word(word)
        while True:
            readable, _, _ = select.select([handler.connection], [], [], 30)
            if not readable or not handler.connection.recv(1):
                break
        handler.upstream.hung_up.set()
        handler.close_connection = True

    return behave


def endless_line(handler: Handler) -> None:
    """A line that never ends, until the client has had enough."""
    handler.begin_stream()
    while True:
        handler.chunk(b"data: " + b"x" * 65536)


def endless_header(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        handler.wfile.write(b"x" * 65536)
