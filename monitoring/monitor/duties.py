"""What a monitor does now and then, besides sampling: roll-ups, retention, and what others register.

`register_duty("alerts", evaluate, every=1)` from an app's `ready()` is all that a new duty needs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import close_old_connections

logger = logging.getLogger(__name__)

_IDLE = 1.0


@dataclass(frozen=True, slots=True)
class Duty:
    """`run` every `every` seconds, in the leader alone or in each node's monitor. It must bear being
    run twice, by a leader that was slow and the next one, and being left out for a while."""

    name: str
    run: Callable[[], object]
    every: float
    by_leader: bool


_duties: dict[str, Duty] = {}


def register_duty(
    name: str, run: Callable[[], object], *, every: float, by_leader: bool = True
) -> None:
    """Called when an app is ready; a name that is there already is replaced."""
    _duties[name] = Duty(name, run, every, by_leader)


def registered_duties() -> list[Duty]:
    return list(_duties.values())


class DutyRunner:
    """Runs duties one after the other in a thread of its own, so that sampling never waits for them."""

    def __init__(
        self,
        duties: Sequence[Duty],
        is_leader: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._duties = duties
        self._is_leader = is_leader
        self._clock = clock
        self._due: dict[str, float] = {}
        self._broken: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="duties", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def run_due(self) -> float:
        """Run what is due; the seconds until something is again, at most one."""
        for duty in self._duties:
            if self._stop.is_set():
                break
            if self._clock() < self._due.get(duty.name, float("-inf")):
                continue
            if duty.by_leader and not self._is_leader():
                continue  # due at once where we become the leader
            self._due[duty.name] = self._clock() + duty.every
            self._perform(duty)
        waits = [self._due.get(duty.name, 0.0) - self._clock() for duty in self._duties]
        return min([_IDLE, *(wait for wait in waits if wait > 0)])

    def _perform(self, duty: Duty) -> None:
        """A duty that fails is told once, and tried again at its next turn."""
        try:
            duty.run()
        except Exception as error:
            if duty.name not in self._broken:
                logger.warning("the duty %s failed: %s", duty.name, error, exc_info=True)
            self._broken.add(duty.name)
        else:
            if duty.name in self._broken:
                logger.info("the duty %s works again", duty.name)
            self._broken.discard(duty.name)

    def _run(self) -> None:
        while not self._stop.wait(self.run_due()):
            close_old_connections()  # one that broke must not be used again
