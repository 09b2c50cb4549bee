"""A whole server as an operator starts it, `manage.py serve`, in a folder of its own; what it computes."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from inference.benchmark.portal.own_stack import StackError, free_port, is_ready, stop
from llamagpu.lib.lifeline import dies_with_parent

_ROOT = Path(__file__).resolve().parents[3]
_START_TIMEOUT = 180.0
_STOP_TIMEOUT = 20.0
USERNAME = "admin"
#: A word of each child's command line, and what the child is called.
_CHILDREN = {
    "llamagpu.web_server": "web",
    "monitor": "monitor",
    "celery": "worker",
    "valkey-server": "valkey",
    "redis-server": "valkey",
}
SUPERVISOR, ENGINE, OTHER = "supervisor", "engine", "other"


@dataclass(frozen=True, slots=True)
class WholeServer:
    """Where it listens, whom it knows, and the process that all others are children of."""

    url: str
    password: str
    pid: int

    def cpu_seconds(self) -> dict[str, float]:
        """What each kind of process has computed since its start."""
        found: dict[str, float] = {}
        root = psutil.Process(self.pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                name = SUPERVISOR if process == root else _name_of(process, root)
                spent = process.cpu_times()
                found[name] = found.get(name, 0.0) + spent.user + spent.system
        return found


def _name_of(process: psutil.Process, root: psutil.Process) -> str:
    if process.ppid() != root.pid:
        return ENGINE if "inference.engine.process" in process.cmdline() else OTHER
    # Valkey writes its address behind its name, into the same word.
    words = {Path(word).name for part in process.cmdline() for word in part.split()}
    return next((name for word, name in _CHILDREN.items() if word in words), OTHER)


@contextmanager
def whole_server(model_root: Path) -> Iterator[WholeServer]:
    """Start it, and end it afterwards. Rates and sockets are not limited. Raises StackError."""
    with tempfile.TemporaryDirectory(prefix="llamagpu-pages-") as name:
        folder = Path(name)
        port, password = free_port(), secrets.token_urlsafe(18)
        environment = _without_settings(os.environ) | {
            "LLAMA_DATA_DIR": str(folder / "data"),
            "LLAMA_MODEL_PATH": str(model_root),
            "LLAMA_HOST": "127.0.0.1",
            "LLAMA_PORT": str(port),
            "LLAMA_ADMIN_USERNAME": USERNAME,
            "LLAMA_ADMIN_PASSWORD": password,
            "LLAMA_LOG_LEVEL": "warning",
            # The preparation of a higher level would compute meanwhile.
            "LLAMA_OPTIMIZATION_LEVEL": "1",
            "LLAMA_RATE_SYSTEM": "-1",
            "LLAMA_MAX_USER_SOCKETS": "1000",
        }
        log = folder / "serve.log"
        command = [sys.executable, "manage.py", "serve", "--no-pull"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                # Killed it would leave its children, which a signal to end does not.
                dies_with_parent(command, signal.SIGTERM),
                cwd=_ROOT,
                env=environment,
                stdout=output,
                stderr=output,
            )
        try:
            _await_ready(process, port, log)
            yield WholeServer(f"http://127.0.0.1:{port}", password, process.pid)
        finally:
            stop(process, _STOP_TIMEOUT)


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Neither another database nor another Valkey, and defaults for all that is not said."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("LLAMA_") and name not in ("DATABASE_URL", "REDIS_URL")
    }


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not is_ready(port):
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip()[-2000:]
            raise StackError(f"the server does not start: {said}")
        time.sleep(0.2)
