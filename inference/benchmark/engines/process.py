"""A process and its children, in a group of their own: paused, measured and ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from llamagpu.lib.lifeline import dies_with_parent

_GRACE = 5.0
_LAST_LINES = 8


class MeasuredProcess:
    """Starts `command`; what it writes to stderr, and to stdout unless piped, goes to `log_file`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_file: Path,
        environment: Mapping[str, str],
        with_pipes: bool = False,
        pass_fds: Sequence[int] = (),
        cwd: Path | None = None,
    ) -> None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        self._log_file = log_file
        with log_file.open("wb") as log:
            self._popen = subprocess.Popen(
                dies_with_parent(command),
                stdin=subprocess.PIPE if with_pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if with_pipes else log,
                stderr=log,
                env=dict(environment),
                start_new_session=True,
                pass_fds=pass_fds,
                cwd=cwd,
            )

    @property
    def stdin(self) -> IO[bytes]:
        if self._popen.stdin is None:
            raise ValueError("the process was started without pipes")
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        if self._popen.stdout is None:
            raise ValueError("the process was started without pipes")
        return self._popen.stdout

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        lines = self._log_file.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"{' | '.join(said[-_LAST_LINES:])} (log: {self._log_file})"

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def resident_bytes(self) -> int:
        """Resident memory of the process and its children, shared pages counted in each."""
        try:
            root = psutil.Process(self._popen.pid)
            family = [root, *root.children(recursive=True)]
            return sum(int(process.memory_info().rss) for process in family)
        except psutil.NoSuchProcess:
            return 0

    def has_children(self) -> bool:
        """Whether the process has others at work for it."""
        try:
            return bool(psutil.Process(self._popen.pid).children())
        except psutil.NoSuchProcess:
            return False

    def stop(self) -> None:
        """End the whole group: asked first, killed after some seconds."""
        self.resume()
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(_GRACE)
        # Children may outlive a leader that has gone.
        self._signal(signal.SIGKILL)
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._popen.pid, number)
        except ProcessLookupError:
            return
