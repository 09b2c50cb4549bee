"""A whole portal for a benchmark: Valkey, database, worker and web server, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from llamagpu.lib.lifeline import dies_with_parent
from llamagpu.supervisor.valkey import EmbeddedValkey, find_server

_ROOT = Path(__file__).resolve().parents[3]
#: The product's worker, and the one whose engine computes nothing.
WORKER, INSTANT_WORKER = "llamagpu", "inference.benchmark.portal.instant_worker"
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 15.0
_NO_LIMIT = {f"LLAMA_RATE_{group}": "-1" for group in ("INFERENCE", "BATCH", "PLUGINS", "SYSTEM")}
#: Every stream needs a thread of the worker: with fewer, some wait for others' ends.
_WORKER_THREADS = {"LLAMA_WORKER_CONCURRENCY": "256"}

#: How each web server is started; `{port}` is filled in.
WEB_SERVERS: dict[str, tuple[str, ...]] = {
    "daphne": (
        *("-m", "llamagpu.web_server", "--bind", "127.0.0.1", "--port", "{port}"),
        *("--verbosity", "0", "--no-server-name", "llamagpu.asgi:application"),
    ),
    "uvicorn": (
        *("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--lifespan", "off"),
        *("--log-level", "warning", "--no-access-log", "llamagpu.asgi:application"),
    ),
}


class StackError(Exception):
    """A part of the stack did not start; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class OwnStack:
    """Where the portal listens, a key for it, its processes' ids and its Valkey."""

    port: int
    key: str
    web_pid: int
    worker_pid: int
    redis_url: str


@contextmanager
def own_stack(
    web_server: str,
    model_root: Path,
    *,
    worker_application: str = INSTANT_WORKER,
    cache_dir: Path | None = None,
) -> Iterator[OwnStack]:
    """Start everything, and end it afterwards. The rates of requests are lifted. Raises StackError.

    `worker_application` is the module with the Celery application of the worker; `cache_dir` holds
    what an engine has prepared already.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llamagpu-portal-")))
        if cache_dir is not None:
            cache_dir.mkdir(parents=True, exist_ok=True)
            (folder / "cache").symlink_to(cache_dir)
        port = free_port()
        environment = {
            **os.environ,
            **_NO_LIMIT,
            **_WORKER_THREADS,
            "LLAMA_DATA_DIR": str(folder),
            "LLAMA_MODEL_PATH": str(model_root),
            "LLAMA_PORT": str(port),
            "LLAMA_LOG_LEVEL": "warning",
            "REDIS_URL": f"unix://{folder}/valkey.sock",
            "PYTHONUNBUFFERED": "1",
        }
        valkey = EmbeddedValkey(folder, folder / "valkey.sock", find_server())
        valkey.prepare()
        _start(stack, "valkey", valkey.spec.command, folder, environment)
        _wait_until(lambda: not valkey.obstacle(), "valkey", folder)
        for command in (["migrate", "--no-input"], ["ensure_admin"], ["models_sync"]):
            _manage(command, environment)
        key = _manage(["key", "create", "--user", "admin", "--name", "bench"], environment).strip()
        celery = [sys.executable, "-m", "celery", "--quiet", "-A", worker_application, "worker"]
        options = [*("--pool", "threads", "--queues", "inference", "--hostname", "bench@%h")]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        worker = _start(stack, "worker", [*celery, *options, *quiet], folder, environment)
        parts = [part.format(port=port) for part in WEB_SERVERS[web_server]]
        web = _start(stack, "web", [sys.executable, *parts], folder, environment)
        _wait_until(lambda: is_ready(port), "web", folder)
        yield OwnStack(port, key, web.pid, worker.pid, environment["REDIS_URL"])


def _start(
    stack: ExitStack, name: str, command: Sequence[str], folder: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    process = subprocess.Popen(
        dies_with_parent(command), cwd=_ROOT, env=environment, stdout=log, stderr=log
    )
    stack.callback(stop, process)
    return process


def stop(process: subprocess.Popen[bytes], timeout: float = _STOP_TIMEOUT) -> None:
    """Ask it to end, and end it where it does not within `timeout` seconds."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _manage(arguments: list[str], environment: dict[str, str]) -> str:
    command = [sys.executable, str(_ROOT / "manage.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"manage.py {arguments[0]}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def _wait_until(condition: Callable[[], bool], name: str, folder: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            logs = (path.read_text(errors="replace")[-2000:] for path in folder.glob("*.log"))
            raise StackError(f"{name} does not start: {''.join(logs)}")
        time.sleep(0.1)


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(json.load(answer))
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
