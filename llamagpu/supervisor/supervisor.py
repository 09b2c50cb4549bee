"""Keeps a row of children running: started in order, restarted at death, stopped in reverse."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import psutil

from llamagpu.lib.backoff import Backoff
from llamagpu.supervisor.child import EXIT_CONFIGURATION, Child, ChildSpec, describe_exit
from llamagpu.supervisor.console import Console
from llamagpu.supervisor.errors import StartError
from llamagpu.supervisor.orphans import adopt_orphans, kill_orphans, reap_adopted
from llamagpu.supervisor.signals import SignalWatch

_MAX_DEATHS_AT_START = 3
_PROBE_EVERY = 0.5
_REPORT_EVERY = 15.0
_IDLE_WAIT = 60.0
_KILL_WAIT = 2.0


class Supervisor:
    """A context manager around the children's lives: leaving it, by whatever way, ends them all.

    Use it from the main thread. A stop signal raises StopRequested out of `wait_until()` and
    `setting_up()` and makes `run()` return; a second one turns patience into SIGKILL.
    """

    def __init__(self, console: Console, new_backoff: Callable[[], Backoff] = Backoff) -> None:
        self._console = console
        self._new_backoff = new_backoff
        self._children: list[Child] = []
        self._signals = SignalWatch()
        self._elders: frozenset[int] = frozenset()

    def __enter__(self) -> Self:
        # Whoever made children before us looks after them: they are no orphans.
        self._elders = frozenset(child.pid for child in psutil.Process().children())
        adopt_orphans()
        self._signals.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._stop_all()
        finally:
            self._signals.__exit__(*exc_info)

    def start(self, spec: ChildSpec) -> None:
        """Start one more child. Raises StartError."""
        self._signals.raise_if_stopping()
        child = Child(spec, self._console, self._new_backoff())
        self._children.append(child)
        child.start()

    @contextmanager
    def setting_up(self) -> Iterator[None]:
        """Steps that take their time and know nothing of us: a stop interrupts them."""
        with self._signals.interrupting():
            yield

    def wait_until(self, obstacle: Callable[[], str], *, what: str, timeout: float) -> None:
        """Tend the children until `obstacle()` is empty; it says what is still missing.

        Raises StartError when a child keeps dying or the time is over.
        """
        begun = reported = time.monotonic()
        deaths = {child.spec.name: child.num_deaths for child in self._children}
        while missing := obstacle():
            now = time.monotonic()
            if now - begun > timeout:
                raise StartError(f"{what} was not ready after {timeout:.0f} s: {missing}")
            if now - reported > _REPORT_EVERY:
                reported = now
                self._say(f"waiting for {what}: {missing}")
            self._signals.wait(_PROBE_EVERY)
            self._signals.raise_if_stopping()
            self._tend()
            for child in self._children:
                if child.num_deaths - deaths[child.spec.name] >= _MAX_DEATHS_AT_START:
                    raise StartError(
                        f"{child.spec.name} keeps dying while it starts: its last lines above "
                        "say why."
                    )

    def run(self) -> None:
        """Tend the children until a stop is asked for. Raises StartError (see `_tend`)."""
        while not self._signals.is_stop_requested:
            self._tend()
            self._signals.wait(self._next_restart_in())

    # ---------------------------------------------------------------- inside
    def _tend(self) -> None:
        reap_adopted(self._is_ours)
        for child in self._children:
            status = child.collect()
            if status is not None:
                kill_orphans(self._our_pids())
                if status == EXIT_CONFIGURATION:
                    raise StartError(
                        f"{child.spec.name} cannot run with these settings: its last lines "
                        "above say why."
                    )
                delay = child.schedule_restart()
                self._say(
                    f"{child.spec.name} died ({describe_exit(status)}); "
                    f"starting it again in {delay:.1f} s"
                )
            elif child.restart_if_due():
                self._say(f"{child.spec.name} was started again (process {child.pid})")

    def _next_restart_in(self) -> float:
        due = [child.restart_at for child in self._children if child.restart_at is not None]
        return min([_IDLE_WAIT, *(moment - time.monotonic() for moment in due)])

    def _stop_all(self) -> None:
        for child in reversed(self._children):
            child.cancel_restart()
            if child.is_running:
                self._say(f"stopping {child.spec.name}")
                self._stop_one(child)
            kill_orphans(self._our_pids())
        for child in self._children:
            child.drain_output()

    def _stop_one(self, child: Child) -> None:
        child.terminate()
        if not self._await_death(child, child.spec.stop_grace, patient=True):
            self._say(f"{child.spec.name} did not stop in time and is killed")
            child.kill()
            self._await_death(child, _KILL_WAIT, patient=False)

    def _await_death(self, child: Child, seconds: float, *, patient: bool) -> bool:
        deadline = time.monotonic() + seconds
        while child.collect() is None:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or (patient and self._signals.is_stop_urgent):
                return False
            self._signals.wait(remaining)
            reap_adopted(self._is_ours)
        return True

    def _our_pids(self) -> set[int]:
        return {child.pid for child in self._children if child.pid is not None} | self._elders

    def _is_ours(self, pid: int) -> bool:
        return pid in self._our_pids()

    def _say(self, text: str) -> None:
        self._console.line("serve", text)
