"""One supervised child: started, followed, started again after its death, and stopped in order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from llamagpu.lib.backoff import Backoff
from llamagpu.lib.lifeline import dies_with_parent
from llamagpu.supervisor.console import Console
from llamagpu.supervisor.errors import StartError

#: A child that ends with this status says: another try cannot help, the configuration is wrong.
EXIT_CONFIGURATION = os.EX_CONFIG


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run under which name, and how it wants to be stopped."""

    name: str
    command: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    #: Seconds between SIGTERM and SIGKILL.
    stop_grace: float = 3.0
    #: What the child gets when the supervisor itself is killed.
    orphan_signal: signal.Signals = signal.SIGKILL


class Child:
    """The life of one child over all its restarts. Start it from the main thread only."""

    def __init__(
        self,
        spec: ChildSpec,
        console: Console,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.num_deaths = 0
        self._console = console
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at: float | None = None
        self._readers: list[threading.Thread] = []

    @property
    def pid(self) -> int | None:
        """The running process, if any."""
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        """Started, and its death not collected yet."""
        return self._process is not None

    @property
    def restart_at(self) -> float | None:
        """When it is to be started again, on the clock given; None unless it waits for that."""
        return self._restart_at

    def start(self) -> None:
        """Raises StartError when the program cannot be started at all."""
        try:
            process = subprocess.Popen(
                dies_with_parent(self.spec.command, self.spec.orphan_signal),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.spec.cwd,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.spec.environment},
                # Its own session: Ctrl-C in the terminal reaches us alone, and we stop in order.
                start_new_session=True,
            )
        except OSError as error:
            raise StartError(f"{self.spec.name} cannot be started: {error}") from error
        self._process, self._restart_at, self._started_at = process, None, self._clock()
        self._readers = [reader for reader in self._readers if reader.is_alive()]
        if process.stdout is not None:
            self._readers.append(self._console.follow(self.spec.name, process.stdout))

    def collect(self) -> int | None:
        """The exit status of a run that has just ended, once; None while there is none."""
        if self._process is None or self._process.poll() is None:
            return None
        status = self._process.returncode
        self._process = None
        self.num_deaths += 1
        return int(status)

    def schedule_restart(self) -> float:
        """Plan the next start after a death; returns the delay in seconds."""
        now = self._clock()
        delay = self._backoff.next_delay(now - self._started_at)
        self._restart_at = now + delay
        return delay

    def restart_if_due(self) -> bool:
        """Start again when the planned moment has come."""
        if self._restart_at is None or self._clock() < self._restart_at:
            return False
        self.start()
        return True

    def cancel_restart(self) -> None:
        self._restart_at = None

    def terminate(self) -> None:
        """Ask the process itself to end; what it started is its own business until then."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End the whole group at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def drain_output(self, timeout: float = 1.0) -> None:
        """Wait until every line that was written has been passed on."""
        for reader in self._readers:
            reader.join(timeout)


def describe_exit(status: int) -> str:
    """`exit status 3`, `killed by SIGKILL`: a status as subprocess gives it, in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
