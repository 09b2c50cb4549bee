"""What is being done, on stderr: one line that is rewritten on a terminal, a line each in a log."""

from __future__ import annotations

import shutil
import time
from typing import TextIO


class Progress:
    """`step` counts towards the total that `expect` announced; `say` is for what has no number."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._started = time.monotonic()
        self._total = 0
        self._done = 0
        self._last = ""

    def expect(self, num_steps: int) -> None:
        """So many more steps will come."""
        self._total += num_steps

    def step(self, text: str) -> None:
        """One step is done."""
        self._done += 1
        self._show(f"[{self._done}/{self._total}] {text}")

    def say(self, text: str) -> None:
        """Something goes on; the same text twice is shown once."""
        if text != self._last:
            self._last = text
            self._show(text)

    def warn(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Leave the terminal's line empty."""
        self._clear()
        self._stream.flush()

    def _show(self, text: str) -> None:
        seconds = int(time.monotonic() - self._started)
        line = f"{seconds // 60:>3}:{seconds % 60:02} {text}"
        if self._is_terminal:
            self._clear()
            self._stream.write(line[: shutil.get_terminal_size().columns - 1])
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def _clear(self) -> None:
        if self._is_terminal:
            self._stream.write("\r\x1b[2K")
