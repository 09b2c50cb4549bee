"""What a plugin prints, line by line into the portal's log, within bounds.

A plugin that floods is slowed down to a trickle by its own full pipe; the lines that are not logged
are counted.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable
from typing import IO

logger = logging.getLogger(__name__)

# Whose words they are, among the lines of the worker.
_COMPONENT = {"component": "plugin"}

_LINE_BYTES = 500
#: A second's worth: lines that are logged, bytes that are read at all.
MAX_LINES = 20
MAX_BYTES = 256 * 1024
_PIECE = 16 * 1024


class OutputLog:
    """Reads one pipe, in the thread that calls `run`, to its end or until `ended` can be read from."""

    def __init__(
        self,
        slug: str,
        pipe: IO[bytes],
        ended: int | None = None,
        hide: Callable[[str], str] = str,
    ) -> None:
        """`hide` takes out of a line what the log must not hold."""
        self._slug = slug
        self._hide = hide
        self._pipe = pipe
        self._poll = select.poll()
        for descriptor in (pipe.fileno(), ended):
            if descriptor is not None:
                self._poll.register(descriptor, select.POLLIN | select.POLLHUP)
        self._line = bytearray()
        #: Of the HTTP request whose call is under way, or was last.
        self.request_id = ""
        self._second = 0.0
        self._num_lines = self._num_bytes = self._num_dropped = 0
        self._stop = threading.Event()

    def run(self) -> None:
        try:
            while piece := self._next():
                self._take(piece)
                if self._num_bytes > MAX_BYTES:
                    self._stop.wait(max(0.0, self._second + 1 - time.monotonic()))
        finally:
            self._pipe.close()
        if self._line:
            self._put()
        self._tell_dropped()

    def hurry(self) -> None:
        """The plugin is to end: what is left is read without pauses."""
        self._stop.set()

    def _next(self) -> bytes:
        ready = [descriptor for descriptor, _ in self._poll.poll()]
        return os.read(self._pipe.fileno(), _PIECE) if self._pipe.fileno() in ready else b""

    def _take(self, piece: bytes) -> None:
        if time.monotonic() - self._second >= 1:
            self._tell_dropped()
            self._second = time.monotonic()
            self._num_lines = self._num_bytes = 0
        self._num_bytes += len(piece)
        for part in piece.splitlines(keepends=True):
            room = _LINE_BYTES - len(self._line)
            self._line += part.rstrip(b"\r\n")[: max(0, room)]
            if part.endswith(b"\n"):
                self._put()

    def _put(self) -> None:
        text = self._line.decode("utf-8", "replace")
        self._line.clear()
        if not text.strip():
            return
        if self._num_lines >= MAX_LINES:
            self._num_dropped += 1
            return
        self._num_lines += 1
        # A terminal that shows the log shall take no orders from a plugin.
        words = "".join(letter if letter.isprintable() else " " for letter in self._hide(text))
        logger.info(
            "plugin '%s': %s", self._slug, words, extra=_COMPONENT | {"request_id": self.request_id}
        )

    def _tell_dropped(self) -> None:
        if self._num_dropped:
            logger.warning("plugin '%s': %s more lines", self._slug, self._num_dropped)
            self._num_dropped = 0
