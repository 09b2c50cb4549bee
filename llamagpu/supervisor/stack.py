"""The command lines of worker, monitor and web process, and the address that the latter listens on."""

from __future__ import annotations

import errno
import socket
import sys
from pathlib import Path

from llamagpu.lib.config import LlamaConfig
from llamagpu.supervisor.child import ChildSpec
from llamagpu.supervisor.errors import StartError

# Together with Valkey's grace about ten seconds: nothing of a stack outlives its stop much longer.
_WORKER_GRACE = 5.0
_WEB_GRACE = 2.0
_MONITOR_GRACE = 1.5


def worker_spec(config: LlamaConfig, *, base_dir: Path, port: int) -> ChildSpec:
    """One Celery worker whose threads only wait on the engines."""
    celery = [sys.executable, "-m", "celery", "--quiet", "-A", "llamagpu", "worker"]
    options = [
        *("--pool", "threads"),  # as many as the configuration says: the worker reads it itself
        *("--queues", "inference", "--hostname", f"worker-{port}@%h"),
        *("--loglevel", config.log_level),
        # Cluster chatter between workers: the heartbeat in Redis says more for less.
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]
    return ChildSpec(
        name="worker", command=(*celery, *options), cwd=base_dir, stop_grace=_WORKER_GRACE
    )


def monitor_spec(*, base_dir: Path) -> ChildSpec:
    """The process that measures this machine and keeps the history."""
    command = (sys.executable, "manage.py", "monitor")
    return ChildSpec(name="monitor", command=command, cwd=base_dir, stop_grace=_MONITOR_GRACE)


def web_spec(config: LlamaConfig, *, base_dir: Path, host: str, port: int) -> ChildSpec:
    """One web server. The address goes along in the environment too: settings are read from there."""
    server = [sys.executable, "-m", "llamagpu.web_server", "--bind", host, "--port", str(port)]
    # Never --proxy-headers: it believes what the caller says of itself. The portal reads the address
    # that the declared proxy has added, and the scheme, by itself.
    options = ["--verbosity", "0", "--no-server-name"]
    return ChildSpec(
        name="web",
        command=(*server, *options, "llamagpu.asgi:application"),
        cwd=base_dir,
        environment={"LLAMA_HOST": host, "LLAMA_PORT": str(port)},
        stop_grace=_WEB_GRACE,
    )


def check_address_is_free(host: str, port: int) -> None:
    """Raises StartError when the web process could not listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        raise StartError(_address_trouble(host, port, error)) from error


def _address_trouble(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is in use by another program. Stop that one, or choose "
            "another port with LLAMA_PORT or --port."
        )
    if error.errno == errno.EACCES:
        return (
            f"This user may not listen on port {port}. Choose one above 1023 with LLAMA_PORT or "
            "--port."
        )
    return (
        f"The address {host} is none of this machine's ({error.strerror or error}). Choose "
        "another with LLAMA_HOST or --host, for example 127.0.0.1 or 0.0.0.0."
    )
