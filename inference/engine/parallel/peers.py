"""Rank 0's side: the processes of the other ranks, told what to do and watched."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference.engine.channel import leave
from inference.engine.errors import DeviceLost
from inference.engine.parallel.commands import Command, write_command

logger = logging.getLogger(__name__)

_EXIT_RANK_DIED = 4
# A failure that all ranks meet, such as a broken file, is better told by rank 0 than by a death.
_GRACE_SECONDS = 5.0
_ROOT = Path(__file__).resolve().parents[3]


def _leave(reason: str) -> None:
    leave(_EXIT_RANK_DIED, reason)


class Peers:
    """Child processes for ranks 1 and up. One thread tells them; others only watch."""

    def __init__(self, on_death: Callable[[str], None] = _leave) -> None:
        """`on_death` gets the reason when a rank is gone; by default this process ends with it."""
        self._on_death = on_death
        self._folder = Path(tempfile.mkdtemp(prefix="llamagpu-ranks-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._is_stopping = False
        self._is_ready = False

    @property
    def meeting_point(self) -> Path:
        """The file through which all ranks find each other."""
        return self._folder / "meeting-point"

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def start(self, specs: list[dict[str, Any]]) -> None:
        """Start one process per spec, which is JSON for `inference.engine.parallel.rank`."""
        for spec in specs:
            process = subprocess.Popen(
                [sys.executable, "-m", "inference.engine.parallel.rank", json.dumps(spec)],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
            )
            self._processes.append(process)
            name = f"rank {spec['rank']}"
            threading.Thread(target=self._watch, args=(process, name), daemon=True).start()

    def ready(self) -> None:
        """From now on a death is told at once: nothing else is left to explain it."""
        self._is_ready = True

    def tell(self, command: Command, numbers: list[int]) -> None:
        """Send every rank a command. Raises DeviceLost where one is gone."""
        try:
            for process in self._processes:
                if process.stdin is None:
                    raise RuntimeError("a rank was started without a pipe")
                write_command(process.stdin, command, numbers)
        except OSError as error:
            raise DeviceLost("a rank of the engine is gone; the engine restarts") from error

    def stop(self) -> None:
        """End all ranks and wait for them."""
        self._is_stopping = True
        for process in self._processes:
            if process.stdin is not None:
                # What was written to a rank that is gone cannot be delivered any more.
                with contextlib.suppress(OSError):
                    process.stdin.close()
        for process in self._processes:
            try:
                process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _watch(self, process: subprocess.Popen[bytes], name: str) -> None:
        status = process.wait()
        if self._is_stopping:
            return
        logger.critical("%s, process %d, ended with status %d", name, process.pid, status)
        if not self._is_ready:
            time.sleep(_GRACE_SECONDS)
        if not self._is_stopping:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._on_death(f"{name} is gone")


def environment_threads(size: int) -> int:
    """Cores for each of `size` ranks on the CPU."""
    return max(1, len(os.sched_getaffinity(0)) // size)
