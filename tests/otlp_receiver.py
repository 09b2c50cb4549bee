"""A real receiver of spans: OTLP over HTTP, on a thread."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class SeenSpan:
    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start: int
    end: int
    attributes: dict[str, Any]
    events: tuple[str, ...]
    is_error: bool


class Spans:
    def __init__(self) -> None:
        self.endpoint = ""
        self._seen: list[SeenSpan] = []
        self._came = threading.Condition()

    def take(self, body: bytes) -> None:
        message = ExportTraceServiceRequest.FromString(body)
        with self._came:
            for resource in message.resource_spans:
                service = _plain(resource.resource.attributes)["service.name"]
                for scope in resource.scope_spans:
                    self._seen += [_seen(service, span) for span in scope.spans]
            self._came.notify_all()

    def wait_for(self, condition: Callable[[list[SeenSpan]], Any], timeout: float = 60) -> Any:
        """What `condition` finds in all that has come, as soon as it finds something."""
        with self._came:
            assert self._came.wait_for(lambda: condition(self._seen), timeout), self.names()
            return condition(self._seen)

    def names(self) -> list[str]:
        return [f"{span.service}: {span.name}" for span in self._seen]

    @property
    def all(self) -> list[SeenSpan]:
        with self._came:
            return list(self._seen)


@contextmanager
def receiving_spans() -> Iterator[Spans]:
    spans = Spans()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            spans.take(body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    spans.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield spans
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _seen(service: str, span: Any) -> SeenSpan:
    return SeenSpan(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _plain(span.attributes),
        tuple(event.name for event in span.events),
        span.status.code == 2,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    found = {}
    for one in attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        found[one.key] = (
            [item.string_value for item in value.values] if kind == "array_value" else value
        )
    return found
