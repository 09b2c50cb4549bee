"""Streams of Server-Sent Events from a local HTTP server, as traces."""

from __future__ import annotations

import http.client
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from inference.benchmark.engines.base import RunFailedError
from inference.benchmark.figures import Trace

_TIMEOUT = 600.0
_LONGEST_ERROR = 300
_READ_BYTES = 1 << 16
_DATA = b"data: "
_END = b"[DONE]"


#: Yields the JSON objects of an answer as they come.
Reading = Callable[[http.client.HTTPResponse], Iterator[dict[str, Any]]]


class HttpStreamClient:
    """Posts requests and counts tokens.

    `count_tokens` says how many one event of the peer holds, where it has had so many before. `key` is
    for a server that wants one, `read` for answers in another form than events.
    """

    def __init__(
        self,
        port: int,
        path: str,
        count_tokens: Callable[[dict[str, Any], int], int],
        key: str = "",
        read: Reading | None = None,
    ) -> None:
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._port = port
        self._path = path
        self._count_tokens = count_tokens
        self._read = read or read_events

    def run(self, bodies: Sequence[dict[str, Any]], concurrency: int) -> list[Trace]:
        """One trace per body, `concurrency` of them under way at a time. Raises RunFailedError."""
        started = time.perf_counter()
        encoded = [json.dumps(body).encode() for body in bodies]
        with ThreadPoolExecutor(max_workers=concurrency) as pool:
            return list(pool.map(lambda body: self._stream(body, started), encoded))

    def _stream(self, body: bytes, started: float) -> Trace:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT)
        try:
            sent = time.perf_counter() - started
            connection.request("POST", self._path, body, headers=self._headers)
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                said = response.read(_LONGEST_ERROR).decode(errors="replace")
                raise RunFailedError(f"HTTP {response.status}: {said}")
            arrivals, counted = [], 0
            for event in self._read(response):
                if count := self._count_tokens(event, counted):
                    arrivals.append((time.perf_counter() - started, count))
                    counted += count
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RunFailedError(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        return Trace(sent, tuple(arrivals))


def read_events(response: http.client.HTTPResponse | io.BytesIO) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream, as they come. What is asked of the response line by line costs
    several times as much, which the engines would lack that are measured on the same processors."""
    rest = b""
    while data := response.read1(_READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(_DATA) and line.strip() != _DATA + _END:
                event: dict[str, Any] = json.loads(line[len(_DATA) :])
                yield event


def read_whole(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The one JSON object of an answer that is not streamed."""
    yield json.loads(response.read())


def is_answering(port: int, path: str) -> bool:
    """Whether a GET is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
