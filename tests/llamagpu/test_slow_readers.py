"""The real web server and a client that reads nothing of an answer without an end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest

from tests.environment import PROJECT_ROOT
from tests.llamagpu.endless_application import numbered_pieces

MEBIBYTE = 1 << 20
REQUEST = b"GET /endless HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
# As daphne's own command, with less patience than it has in earnest.
COMMAND = "from llamagpu import web_server; web_server.READ_TIMEOUT = 3.0; web_server.main()"


class Server:
    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process

    @property
    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def state(self) -> Any:
        with suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self.port}/state", timeout=5).json()
        return None

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall(REQUEST)
        return connection


@pytest.fixture
def server(tmp_path: Any) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [
            sys.executable, "-c", COMMAND, "--bind", "127.0.0.1", "--port", str(port),
            "--verbosity", "0", "tests.llamagpu.endless_application:application",
        ],
        cwd=PROJECT_ROOT,
        env=os.environ
        | {"LLAMA_DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "llamagpu.settings"},
    )  # fmt: skip
    running = Server(port, process)
    try:
        wait_until(running.state, "the server answers")
        yield running
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(20)


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)
    return found


def test_who_reads_nothing_is_sent_little_and_is_cut_off_in_the_end(server: Server) -> None:
    before = server.memory
    with server.connect():
        wait_until(lambda: server.state()["open"] == 1, "the answer begins")
        wait_until(lambda: server.state()["open"] == 0, "the client is cut off")
        # What the kernel's buffers hold, and 64 KiB.
        assert server.state()["sent"] < 32 * MEBIBYTE
        assert server.memory - before < 32 * MEBIBYTE


def test_who_reads_gets_as_much_as_there_is(server: Server) -> None:
    with server.connect() as connection:
        wanted = 64 * MEBIBYTE
        while wanted > 0:
            block = connection.recv(MEBIBYTE)
            assert block
            wanted -= len(block)
    wait_until(lambda: server.state()["open"] == 0, "the end is noticed")


def test_a_slow_reader_holds_nobody_up(server: Server) -> None:
    with server.connect(), server.connect() as quick:
        wait_until(lambda: server.state()["open"] == 2, "both answers begin")
        for _ in range(100):
            assert quick.recv(65536)


def test_who_reads_slowly_gets_all_pieces_in_order(server: Server) -> None:
    received = bytearray()
    url = f"http://127.0.0.1:{server.port}/numbers"
    with httpx.stream("GET", url, timeout=20) as answer:
        for block in answer.iter_raw(65536):
            received += block
            time.sleep(0.002)
    assert received == b"".join(numbered_pieces())
