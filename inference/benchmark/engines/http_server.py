"""A peer that is an HTTP server: started on a free port, awaited, streamed from."""

from __future__ import annotations

import socket
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from inference.benchmark.engines.base import (
    Description,
    EngineUnavailableError,
    MeasuredEngine,
    Say,
)
from inference.benchmark.engines.environment import Environment
from inference.benchmark.engines.http_stream import HttpStreamClient, is_answering
from inference.benchmark.engines.process import MeasuredProcess
from inference.benchmark.figures import Trace

_START_TIMEOUT = 600.0
_POLL = 0.05


class HttpEngine(MeasuredEngine):
    """The parts of a server's adapter that do not depend on the server."""

    path: str
    precision: str
    environment: Environment
    _client: HttpStreamClient

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """The server's command line."""

    @abstractmethod
    def variables(self) -> dict[str, str]:
        """Environment variables of the server, beside those that every peer gets."""

    @abstractmethod
    def body(self, prompt: Sequence[int], new_tokens: int) -> dict[str, Any]:
        """The request: greedy, streamed, no early end, no memory of earlier prompts."""

    @abstractmethod
    def count_tokens(self, event: dict[str, Any], counted: int) -> int:
        """New tokens in one event of the stream."""

    def start(self, say: Say) -> Description:
        say("starting the server")
        port = _free_port()
        started = time.perf_counter()
        self.process = MeasuredProcess(
            self.command(port),
            log_file=self.environment.folder / "server.log",
            environment=self.environment.variables() | self.variables(),
        )
        self._wait_answering(self.process, port)
        load_time = time.perf_counter() - started
        self._client = HttpStreamClient(port, self.path, self.count_tokens)
        return Description(self.environment.version, self.precision, "HTTP", load_time)

    def run(
        self, prompts: Sequence[Sequence[int]], *, new_tokens: int, concurrency: int
    ) -> list[Trace]:
        bodies = [self.body(prompt, new_tokens) for prompt in prompts]
        return self._client.run(bodies, concurrency)

    def _wait_answering(self, process: MeasuredProcess, port: int) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not is_answering(port, "/health"):
            if not process.is_alive:
                raise EngineUnavailableError(f"the server ended: {process.last_words()}")
            if time.monotonic() > deadline:
                raise EngineUnavailableError(f"the server did not start: {process.last_words()}")
            time.sleep(_POLL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
