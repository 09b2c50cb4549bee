"""Streams of Server-Sent Events from a local HTTP server, as traces.

The client shares the processors with the server that it measures, and an engine that is measured in its
own process has none: it only notes what arrives, and when, and reads it once the run is over.
"""

from __future__ import annotations

import http.client
import io
import itertools
import json
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, cast

from inference.benchmark.engines.base import RunFailedError
from inference.benchmark.figures import Trace

_TIMEOUT = 600.0
_LONGEST_ERROR = 300
_READ_BYTES = 1 << 16
_DATA = b"data: "
_END = b"[DONE]"


#: Yields the JSON objects of an answer, which is read again as it came.
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
        lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
        # The end of the connection is the end of the answer, which nobody has to look for meanwhile.
        lines += ["Connection: close", *([f"Authorization: Bearer {key}"] if key else [])]
        self._head = "\r\n".join(lines)
        self._port = port
        self._count_tokens = count_tokens
        self._read = read or read_events

    def run(self, bodies: Sequence[dict[str, Any]], concurrency: int) -> list[Trace]:
        """One trace per body, `concurrency` of them under way at a time. Raises RunFailedError."""
        started = time.perf_counter()
        requests = [self._request(json.dumps(body).encode()) for body in bodies]
        recordings = self._record_all(requests, concurrency)
        return [self._trace(recording, started) for recording in recordings]

    def _request(self, body: bytes) -> bytes:
        return f"{self._head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    def _record_all(self, requests: Sequence[bytes], concurrency: int) -> list[_Recording]:
        """In one thread, which is woken once for all that has come. Raises RunFailedError."""
        recordings = [_Recording() for _ in requests]
        waiting = iter(zip(requests, recordings, strict=True))
        with selectors.DefaultSelector() as selector, ExitStack() as connections:

            def begin(request: bytes, recording: _Recording) -> None:
                recording.sent_at = time.perf_counter()
                connection = socket.create_connection(("127.0.0.1", self._port), _TIMEOUT)
                connections.enter_context(connection)
                connection.sendall(request)
                selector.register(connection, selectors.EVENT_READ, recording)

            try:
                for pair in itertools.islice(waiting, concurrency):
                    begin(*pair)
                while selector.get_map():
                    if not (ready := selector.select(_TIMEOUT)):
                        raise RunFailedError(f"nothing came for {_TIMEOUT:.0f} seconds")
                    for key, _ in ready:
                        connection = cast(socket.socket, key.fileobj)
                        if data := connection.recv(_READ_BYTES):
                            key.data.pieces.append((time.perf_counter(), data))
                            continue
                        selector.unregister(connection)
                        connection.close()
                        for pair in itertools.islice(waiting, 1):
                            begin(*pair)
            except OSError as error:
                raise RunFailedError(f"{type(error).__name__}: {error}") from error
        return recordings

    def _trace(self, recording: _Recording, started: float) -> Trace:
        arrivals, counted = [], 0
        replay = _Replay(recording)
        try:
            with http.client.HTTPResponse(cast(socket.socket, replay), method="POST") as response:
                response.begin()
                if response.status != http.HTTPStatus.OK:
                    said = response.read(_LONGEST_ERROR).decode(errors="replace")
                    raise RunFailedError(f"HTTP {response.status}: {said}")
                for event in self._read(response):
                    if count := self._count_tokens(event, counted):
                        arrivals.append((replay.at - started, count))
                        counted += count
        except (http.client.HTTPException, ValueError) as error:
            raise RunFailedError(f"{type(error).__name__}: {error}") from error
        return Trace(recording.sent_at - started, tuple(arrivals))


@dataclass(slots=True)
class _Recording:
    """What came in answer to a request, and when (`time.perf_counter()`)."""

    sent_at: float = 0.0
    pieces: list[tuple[float, bytes]] = field(default_factory=list)


class _Replay(io.RawIOBase):
    """A recording as the socket that `http.client` reads; `at` is when the last piece read had come."""

    def __init__(self, recording: _Recording) -> None:
        self.at = recording.sent_at
        self._pieces = iter(recording.pieces)
        self._rest = b""

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, _READ_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """One piece at a time, so that nothing is read earlier than it came."""
        if not self._rest:
            self.at, self._rest = next(self._pieces, (self.at, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def read_events(response: http.client.HTTPResponse | io.BytesIO) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream, as they come."""
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
