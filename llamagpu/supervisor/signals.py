"""Signals of the supervising process: asked stops, and the wake-up at a child's death."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from llamagpu.supervisor.errors import StopRequested

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# One asked stop can arrive twice: from the process group's signal and again through `make`.
_SAME_REQUEST_WITHIN = 1.0


class SignalWatch:
    """While entered, stop signals are noted and `wait()` returns at once when one comes.

    Only the main thread may enter it.
    """

    def __init__(self) -> None:
        self.is_stop_requested = False
        #: Asked a second time: whoever waits has lost patience.
        self.is_stop_urgent = False
        self._first_request_at = 0.0
        self._is_interrupting = False
        self._previous: dict[int, signal.Handlers] = {}

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._previous_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _STOPPING:
            # Under `nohup` a hang-up is ignored and shall stay so.
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._previous[number] = signal.signal(number, self._on_stop)  # type: ignore[assignment]
        # Without a handler of its own SIGCHLD would not reach the wake-up pipe.
        self._previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, self._on_child)  # type: ignore[assignment]
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, timeout: float) -> None:
        """Sleep until a signal comes, at most `timeout` seconds."""
        ready, _, _ = select.select([self._reader], [], [], max(0.0, timeout))
        if ready:
            os.read(self._reader, 4096)

    def raise_if_stopping(self) -> None:
        """Raises StopRequested once a stop has been asked for."""
        if self.is_stop_requested:
            raise StopRequested

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Code that does not look at us: a stop raises StopRequested in the middle of it."""
        self._is_interrupting = True
        try:
            self.raise_if_stopping()
            yield
        finally:
            self._is_interrupting = False

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.is_stop_requested:
            self.is_stop_requested, self._first_request_at = True, now
        elif now - self._first_request_at > _SAME_REQUEST_WITHIN:
            self.is_stop_urgent = True
        if self._is_interrupting:
            self._is_interrupting = False  # the clean-up itself is not interrupted
            raise StopRequested

    def _on_child(self, number: int, frame: FrameType | None) -> None:
        """Nothing to do: the wake-up pipe has been written already."""
