"""`/metrics` on an address of its own, without credentials: for a network that only scrapers reach."""

from __future__ import annotations

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from monitoring.metrics.exposition import expose

logger = logging.getLogger(__name__)

_PATIENCE = 5.0
_MAX_AT_ONCE = 8


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE  # of a client that sends or reads nothing

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404)
            return
        body, content_type = expose(self.headers.get("Accept", ""))
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "llamagpu"

    def log_message(self, format: str, *args: Any) -> None:
        """Every few seconds the same line would say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int]) -> None:
        self._places = threading.BoundedSemaphore(_MAX_AT_ONCE)
        super().__init__(address, _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.info("a scrape from %s broke off", client_address[0])


def serve_metrics(address: tuple[str, int]) -> ThreadingHTTPServer | None:
    """Begin to serve in a thread; None where another process of this machine has the address."""
    try:
        server = _Server(address)
    except OSError as error:
        logger.warning("metrics are not served at %s:%s: %s", *address, error)
        return None
    threading.Thread(target=server.serve_forever, name="scrapes", daemon=True).start()
    return server
