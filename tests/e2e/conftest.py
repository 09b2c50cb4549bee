"""The whole stack as an operator starts it: `manage.py serve`, the real model, HTTP alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.environment import MODEL_ROOT, PROJECT_ROOT

PARIS = {"text": "What is the capital of France?", "temperature": 0}
LONG = {
    "text": "Tell a long story about a llama.",
    "temperature": 0,
    "max_tokens": 120,
    "ignore_eos": True,
}


class Stack:
    """A running `manage.py serve` of its own data directory, and a key to it."""

    def __init__(
        self, data_dir: Path, level: str = "0", model_root: Path = MODEL_ROOT, **environment: str
    ) -> None:
        """At level 0 answers take long enough to be interrupted; `auto` is what people get.

        `environment` adds variables, such as DATABASE_URL.
        """
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.lines: list[str] = []
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("LLAMA_")
        } | {
            "LLAMA_DATA_DIR": str(data_dir),
            "LLAMA_MODEL_PATH": str(model_root),
            "LLAMA_PORT": str(self.port),
            "LLAMA_OPTIMIZATION_LEVEL": level,
            # One caller sends more than a person would.
            "LLAMA_RATE_INFERENCE": "-1",
            "LLAMA_RATE_SYSTEM": "-1",
            "LLAMA_RATE_BATCH": "-1",
            "LLAMA_RATE_PLUGINS": "-1",
            "LLAMA_UPSTREAM_ALLOW": "127.0.0.1",
            **environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--no-pull"],
            cwd=PROJECT_ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def _collect(self) -> None:
        assert self.process.stdout
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.append(line)

    def wait_ready(self) -> None:
        wait_until(lambda: self.process.poll() is not None or self.probe() == 200, "ready", 180)
        assert self.process.poll() is None, "".join(self.lines)
        said = self.manage("key", "create", "--user", "admin", "--name", "e2e")
        self.headers = {"Authorization": f"Bearer {said.strip()}"}

    def probe(self) -> int:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code
        except httpx.HTTPError:
            return 0

    def manage(self, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT_ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def infer(self, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(f"{self.url}/api/infer", json=body, headers=self.headers, timeout=120)

    def text(self, body: dict[str, Any]) -> str:
        response = self.infer(body)
        assert response.status_code == 200, response.text
        return str(response.json()["result"]["generated_text"])

    def stream(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The data of every event, with its `event` name and `id` beside it."""
        with httpx.stream(
            "POST", f"{self.url}/api/stream_infer", json=body, headers=self.headers, timeout=120
        ) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            return list(read_sse(response.iter_lines()))

    def status(self) -> dict[str, Any]:
        response = httpx.get(f"{self.url}/api/system/status", headers=self.headers, timeout=30)
        assert response.status_code == 200
        return dict(response.json())

    def engine_pid(self) -> int:
        (worker,) = self.status()["workers"]
        return int(worker["engines"][0]["pid"])

    def worker_pid(self) -> int:
        return int(self.status()["workers"][0]["pid"])

    def job(self, **where: str) -> dict[str, Any] | None:
        ((column, value),) = where.items()
        database = sqlite3.connect(self.data_dir / "db.sqlite3", timeout=20)
        database.row_factory = sqlite3.Row
        try:
            row = database.execute(
                f"SELECT * FROM inference_inferencejob WHERE {column} = ?",  # noqa: S608
                [value],
            ).fetchone()
        finally:
            database.close()
        return dict(row) if row else None

    def stop(self) -> list[int]:
        """SIGTERM, then wait; the pids that were there before."""
        family = [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._reader.join(60)
        return family


def read_sse(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and "data" in fields:
            yield json.loads(fields["data"]) | {
                "event": fields.get("event", ""),
                "id": fields["id"],
            }
            fields = {}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], what: str, patience: float = 120) -> Any:
    """Poll until truthy; the limit only ends a test that has failed anyway."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="llamagpu-e2e-") as folder:
        running = Stack(Path(folder))
        try:
            running.wait_ready()
            yield running
        finally:
            if running.process.poll() is None:
                running.stop()
