"""Ends an engine process whose step does not come back, so that its supervisor starts a new one.

A kernel that hangs cannot be interrupted from Python; a process can be left. Only for a process that
serves one engine: a program that uses the engine as a library decides for itself.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)

EXIT_STUCK = 6
# Looks per time limit. The limit is counted in looks, not by the clock: a process that was stopped
# and goes on (SIGSTOP, a paused container) has had no time to compute.
_LOOKS = 8
_LONGEST_WAIT = 15.0


class Watchdog:
    """Looks at `progress` from a thread of its own: a count that is odd while a step computes.

    After `timeout` seconds with the same odd count, the threads' stacks go to standard error and the
    process ends with EXIT_STUCK. A step that also holds Python's lock keeps this thread from
    running; then faulthandler's own thread does the same after twice the time, with status 1.
    """

    def __init__(self, progress: Callable[[], int], timeout: float) -> None:
        self._progress = progress
        self._timeout = timeout
        self._interval = min(_LONGEST_WAIT, timeout / _LOOKS)
        self._stopped = threading.Event()

    def start(self) -> None:
        """Watch until `stop`."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer: the engine has ended."""
        self._stopped.set()

    def _watch(self) -> None:
        seen, num_looks = self._progress(), 0
        while True:
            faulthandler.dump_traceback_later(2 * self._timeout, exit=True, file=sys.stderr)
            if self._stopped.wait(self._interval):
                faulthandler.cancel_dump_traceback_later()
                return
            now = self._progress()
            is_stuck = now == seen and now % 2 == 1
            seen, num_looks = now, num_looks + 1 if is_stuck else 0
            if num_looks * self._interval >= self._timeout:
                self._leave()

    def _leave(self) -> None:
        logger.critical("a step has not ended for %.0f seconds: the engine ends", self._timeout)
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        # No destructors: one of them would wait for the device, too.
        os._exit(EXIT_STUCK)
