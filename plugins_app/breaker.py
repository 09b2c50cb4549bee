"""The fuse of one plugin: after too many faults it is not called for a while, then tried once.

No Django, no clock of its own: safe to use from many threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """HALF_OPEN: one call is on trial, the others are refused until it is back."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """Opens after `max_consecutive` faults in a row, or where `rate` of the last `window` calls were
    faults. `cool_down` seconds later one call is let through: it closes the breaker or opens it anew.
    """

    max_consecutive: int = 5
    rate: float = 0.5
    window: int = 40
    cool_down: float = 10.0


class Breaker:
    def __init__(
        self, rule: BreakerRule | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rule = rule or BreakerRule()
        self._clock = clock
        self._lock = threading.Lock()
        self._state = BreakerState.CLOSED
        self._opened_at = 0.0
        self._num_consecutive = 0
        self._outcomes: deque[bool] = deque(maxlen=self._rule.window)

    @property
    def state(self) -> BreakerState:
        return self._state

    def may_call(self) -> bool:
        """Whoever is told yes says afterwards whether it went well."""
        if self._state is BreakerState.CLOSED:
            return True
        with self._lock:
            if self._state is BreakerState.OPEN and self._has_cooled():
                self._state = BreakerState.HALF_OPEN
                self._opened_at = self._clock()
                return True
            if self._state is BreakerState.HALF_OPEN and self._has_cooled():
                self._opened_at = self._clock()  # the one on trial has not come back
                return True
            return False

    def note_success(self) -> bool:
        """Whether that closed it."""
        with self._lock:
            if self._state is not BreakerState.CLOSED:
                # A call from before it opened says nothing of the time since.
                if self._state is BreakerState.OPEN:
                    return False
                self._state = BreakerState.CLOSED
                self._outcomes.clear()
                self._num_consecutive = 0
                return True
            self._num_consecutive = 0
            self._outcomes.append(True)
            return False

    def note_fault(self) -> bool:
        """Whether that opened it."""
        with self._lock:
            if self._state is BreakerState.OPEN:
                return False
            self._num_consecutive += 1
            self._outcomes.append(False)
            if self._state is BreakerState.CLOSED and not self._is_too_much():
                return False
            self._state = BreakerState.OPEN
            self._opened_at = self._clock()
            return True

    def _has_cooled(self) -> bool:
        return self._clock() - self._opened_at >= self._rule.cool_down

    def _is_too_much(self) -> bool:
        if self._num_consecutive >= self._rule.max_consecutive:
            return True
        is_full = len(self._outcomes) == self._rule.window
        return is_full and self._outcomes.count(False) >= self._rule.rate * self._rule.window
