"""Sockets whose client never reads, on the real web server: bounded memory, nobody else waits."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from monitoring.live_events import MODEL_EVENTS, SYSTEM_METRICS, publish
from tests.conftest import make_caller
from tests.e2e.conftest import wait_until
from tests.live_portal import PATIENCE, Portal

pytestmark = [
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.usefixtures("redis_client"),
]
MEBIBYTE = 1 << 20
FILLING = "x" * 20_000


def begin(raw: socket.socket, portal: Portal, path: str, key: str) -> None:
    """Shake hands at `path`, with little room for what will not be read."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(PATIENCE)
    raw.connect(("127.0.0.1", portal.port))
    nonce = base64.b64encode(os.urandom(16)).decode()
    raw.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{portal.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n"
        f"Authorization: Bearer {key}\r\n\r\n".encode()
    )
    read_until(raw, b"\r\n\r\n")


def say(raw: socket.socket, text: str) -> None:
    """One short message."""
    content = text.encode()
    raw.sendall(bytes([0x81, 0x80 | len(content)]) + bytes(4) + content)


def read_until(raw: socket.socket, end: bytes) -> None:
    received = b""
    while end not in received:
        block = raw.recv(1)
        assert block, received
        received += block


@contextmanager
def deaf(portal: Portal, key: str, stream: str) -> Iterator[socket.socket]:
    """A socket that subscribes and reads nothing from then on."""
    with socket.socket() as raw:
        begin(raw, portal, "/ws/stream/", key)
        say(raw, json.dumps({"action": "subscribe", "streams": [stream]}))
        read_until(raw, b"subscribed")
        yield raw


def test_who_never_reads_events_costs_little_and_is_closed_in_the_end(portal: Portal) -> None:
    key, other = make_caller("user").key, make_caller("operator").key
    with portal.watch(other, MODEL_EVENTS) as quick, ExitStack() as opened:
        raws = [opened.enter_context(deaf(portal, key, MODEL_EVENTS)) for _ in range(3)]
        before = portal.memory
        for number in range(3000):  # 60 MB for each
            publish(MODEL_EVENTS, "model_loading", {"number": number, "filling": FILLING})
            if number % 10 == 0:
                while quick.read()["data"]["number"] < number:
                    pass
        # The last thousand events are held once, for all watchers together.
        assert portal.memory - before < 64 * MEBIBYTE
        for raw in raws:
            wait_until(lambda raw=raw: is_over(raw), "the server has closed it")


def test_who_never_reads_metrics_misses_them_and_costs_little(portal: Portal) -> None:
    key, other = make_caller("user").key, make_caller("operator").key
    with portal.watch(other, SYSTEM_METRICS) as quick, deaf(portal, key, SYSTEM_METRICS):
        before = portal.memory
        for number in range(1500):
            publish(SYSTEM_METRICS, SYSTEM_METRICS, {"number": number, "filling": FILLING})
            while number % 10 == 0 and quick.read()["data"].get("number") != number:
                pass
        assert portal.memory - before < 16 * MEBIBYTE


def is_over(raw: socket.socket) -> bool:
    """Read what the kernel held back: does it end?"""
    raw.settimeout(1)
    try:
        while raw.recv(MEBIBYTE):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True
