"""How long to wait before a dead child is started again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Doubling delays with jitter; a run of at least `stable_after` seconds starts afresh.

    The jitter keeps the children of several hosts, felled by one common cause, from coming back in
    one blow.
    """

    first: float = 0.5
    longest: float = 30.0
    stable_after: float = 60.0
    jitter: float = 0.2
    uniform: Callable[[float, float], float] = random.uniform
    _num_failures: int = field(default=0, init=False)

    def next_delay(self, ran_for: float) -> float:
        """The wait after a run of `ran_for` seconds has ended in death."""
        if ran_for >= self.stable_after:
            self._num_failures = 0
        delay: float = min(self.longest, self.first * 2**self._num_failures)
        if delay < self.longest:  # the exponent needs no growth beyond the longest delay
            self._num_failures += 1
        return delay * self.uniform(1 - self.jitter, 1 + self.jitter)
