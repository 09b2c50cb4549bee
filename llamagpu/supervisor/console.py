"""The terminal that the supervisor shares with its children: one line at a time, each with its
speaker's name in front."""

from __future__ import annotations

import json
import os
import re
import threading
from datetime import UTC, datetime
from typing import IO, TextIO

_NAME_WIDTH = 7
_COLOURS = {"serve": "1", "valkey": "35", "worker": "36", "web": "32", "monitor": "33"}
_LONGEST_LINE = 64 * 1024
# Text of clients can reach a log line: no child may move the cursor or retitle the window.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Console:
    """Writes whole lines from any thread. A terminal that is gone is no reason to stop serving."""

    def __init__(
        self, stream: TextIO, *, colour: bool | None = None, as_json: bool = False
    ) -> None:
        if colour is None:
            colour = stream.isatty() and not os.environ.get("NO_COLOR")
        self._stream = stream
        self._colour = colour
        self._as_json = as_json
        self._lock = threading.Lock()
        self._is_gone = False

    def line(self, name: str, text: str) -> None:
        """One line said by `name`."""
        if self._as_json:
            self._write(text.strip() if text.startswith("{") else _as_object(name, text))
            return
        prefix = f"{name:<{_NAME_WIDTH}} |"
        if self._colour:
            prefix = f"\x1b[{_COLOURS.get(name, '34')}m{prefix}\x1b[0m"
        safe = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text.rstrip("\r\n"))
        self._write(f"{prefix} {safe}")

    def _write(self, line: str) -> None:
        with self._lock:
            if self._is_gone:
                return
            try:
                self._stream.write(f"{line}\n")
                self._stream.flush()
            except (OSError, ValueError):
                self._is_gone = True

    def follow(self, name: str, source: IO[bytes]) -> threading.Thread:
        """Pass on `source` line by line until its last writer closes it, from an own thread."""
        thread = threading.Thread(
            target=self._pump, args=(name, source), name=f"output of {name}", daemon=True
        )
        thread.start()
        return thread

    def _pump(self, name: str, source: IO[bytes]) -> None:
        # Reading goes on even when nobody sees the lines: a full pipe would stop the child.
        with source:
            while line := source.readline(_LONGEST_LINE):
                self.line(name, line.decode("utf-8", errors="replace"))


def _as_object(name: str, text: str) -> str:
    """A line of a program that does not write JSON itself, such as Valkey, for those that read it."""
    fields = {
        "timestamp": datetime.now(tz=UTC).isoformat(),
        "level": "INFO",
        "component": name,
        "message": text.strip(),
    }
    return json.dumps(fields, ensure_ascii=False)
