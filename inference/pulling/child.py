"""Run one program to its end, reading its lines as they come; it never outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llamagpu.lib.lifeline import dies_with_parent

_KEPT_LINES = 50


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended, and the last lines that `on_line` did not take."""

    status: int
    last_lines: tuple[str, ...]


def run_program(
    command: Sequence[str],
    on_line: Callable[[str], bool],
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run `command`; `on_line` says whether it took a line. Call it from the main thread.

    When anything is raised meanwhile, Ctrl-C included, the program and its children are ended.
    """
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    process = subprocess.Popen(
        dies_with_parent(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        start_new_session=True,
    )
    try:
        for line in process.stdout or ():
            text = line.rstrip("\n")
            if not on_line(text):
                kept.append(text)
        return Outcome(process.wait(), tuple(kept))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
