"""The real web server on the tests' own database and Valkey, and clients of its sockets.

Whoever uses it needs real transactions (`django_db(transaction=True, serialized_rollback=True)`), or
the server would not see what a test has written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psutil
from django.conf import settings
from django.db import connection
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.e2e.conftest import free_port, wait_until
from tests.environment import MODEL_ROOT, PROJECT_ROOT

PATIENCE = 30
DAPHNE = (
    *("-m", "llamagpu.web_server", "--bind", "127.0.0.1", "--port", "{port}"),
    *("--verbosity", "0", "--no-server-name", "llamagpu.asgi:application"),
)
UVICORN = (
    *("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
    *("--ws", "websockets-sansio", "--ws-max-size", "1048576", "llamagpu.asgi:application"),
)


class Portal:
    """A web process."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    @property
    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def lives(self) -> bool:
        assert self.process.poll() is None
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/livez", timeout=5).status_code == 200
        return False

    def open(self, path: str, key: str = "", **options: Any) -> Any:
        return open_socket(self.port, path, key, **options)

    @contextmanager
    def watch(self, key: str, *streams: str, **fields: Any) -> Iterator[Socket]:
        """A socket that has subscribed."""
        with self.open("/ws/stream/", key) as socket:
            socket.say({"action": "subscribe", "streams": list(streams), **fields})
            assert socket.next("subscribed")["data"]["streams"] == sorted(streams)
            yield socket


@contextmanager
def open_socket(port: int, path: str, key: str = "", **options: Any) -> Iterator[Socket]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    headers |= options.pop("headers", {})
    with connect(
        f"ws://127.0.0.1:{port}{path}",
        additional_headers=headers,
        open_timeout=PATIENCE,
        compression=None,
        **options,
    ) as opened:
        yield Socket(opened)


class Socket:
    """A client of one socket; messages are objects."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def say(self, message: Any) -> None:
        self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    def read(self) -> dict[str, Any]:
        """The next message, whatever it is."""
        message = json.loads(self.connection.recv(timeout=PATIENCE))
        assert {"timestamp", "event_type", "data"} <= set(message), message
        return dict(message)

    def next(self, event_type: str) -> dict[str, Any]:
        """The next message of this type; others before it are passed over."""
        while True:
            message = self.read()
            if message["event_type"] == event_type:
                return message
            assert message["event_type"] != "error", message

    def error(self) -> str:
        """The code of the next message, which must be an error."""
        message = self.read()
        assert message["event_type"] == "error", message
        assert message["data"]["success"] is False
        return str(message["data"]["error"]["code"])

    def end(self) -> tuple[int, list[dict[str, Any]]]:
        """The code with which the server closes, and what it says before."""
        said = []
        while True:
            try:
                said.append(self.read())
            except ConnectionClosed:
                assert self.connection.protocol.close_code is not None
                return self.connection.protocol.close_code, said


@contextmanager
def run_portal(
    data_dir: Path,
    command: tuple[str, ...] = DAPHNE,
    *,
    is_stopped: bool = False,
    **environment: str,
) -> Iterator[Portal]:
    """Starts a web process and waits until it answers. It must be alive at the end, unless `is_stopped`."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, *(word.format(port=port) for word in command)],
        cwd=PROJECT_ROOT,
        env=os.environ
        | {
            "LLAMA_DATA_DIR": str(data_dir),
            "LLAMA_MODEL_PATH": str(MODEL_ROOT),
            "DATABASE_URL": database_url(),
            "REDIS_URL": settings.REDIS_URL,
            "LLAMA_KEY_PEPPER": settings.API_KEY_PEPPER,
            "DJANGO_SECRET_KEY": settings.SECRET_KEY,
            "DJANGO_SETTINGS_MODULE": "llamagpu.settings",
            "LLAMA_RATE_SYSTEM": "-1",
            **environment,
        },
    )
    portal = Portal(port, process)
    try:
        wait_until(portal.lives, "the web server answers")
        yield portal
        assert is_stopped or process.poll() is None, "the web server has died"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def database_url() -> str:
    """The address of the database that the tests write to."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
