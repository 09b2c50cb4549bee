"""A plugin in a process of its own, started again when it dies: soon at first, then more seldom.

After too many deaths in a short time it stays away until it is reloaded.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from llamagpu.lib.backoff import Backoff
from plugins_app.base import Context, Hook
from plugins_app.runners.approval import PluginChangedError, approved_sources
from plugins_app.runners.base import (
    FaultKind,
    PluginFaultError,
    PluginLoadError,
    Runner,
    RunnerReport,
    RunnerState,
)
from plugins_app.runners.plugin_process import PluginProcess, ProcessGoneError
from plugins_app.spec import PluginSpec

logger = logging.getLogger(__name__)

#: Restarts within so many seconds, after which no other is tried.
MAX_RESTARTS = 10
WINDOW = 300.0
#: Processor that it may use while nobody calls: seconds at once, and a share of its life.
IDLE_CPU_SECONDS = 30.0
_IDLE_CPU_SHARE = 0.05


def ignore_event(event: str, words: str) -> None:
    """For a runner whose deaths nobody wants to hear of."""


class IsolatedRunner(Runner):
    """`on_event` hears of `died`, `restarted` and `failed`, from any thread."""

    def __init__(
        self,
        spec: PluginSpec,
        *,
        walls_required: bool = True,
        on_event: Callable[[str, str], None] = ignore_event,
    ) -> None:
        super().__init__(spec)
        self._walls_required = walls_required
        self._on_event = on_event
        self._process: PluginProcess | None = None
        self._state = RunnerState.STARTING
        self._error = ""
        self._changed = threading.Condition()
        self._backoff = Backoff(first=0.1, longest=15.0)
        self._restarts: deque[float] = deque(maxlen=MAX_RESTARTS)
        self._num_restarts = 0

    def start(self) -> None:
        try:
            process = self._make()
        except PluginLoadError as error:
            self._settle(RunnerState.FAILED, str(error))
            raise
        self._take(process)

    def call(self, hook: Hook, context: Context) -> Context:
        """Raises PluginFaultError within the budget's `call_timeout` for the wait for its turn, and as
        much for the call itself."""
        deadline = time.monotonic() + self.spec.budget.call_timeout
        process = self._process
        if process is None or self._state is not RunnerState.READY:
            raise PluginFaultError(FaultKind.UNAVAILABLE, self._error or "it is not running")
        try:
            return process.call(hook, context, deadline)
        except ProcessGoneError:
            process = self._successor(process, deadline)
        try:
            return process.call(hook, context, deadline)
        except ProcessGoneError:
            raise PluginFaultError(FaultKind.UNAVAILABLE, "its process ended again") from None

    def close(self, timeout: float = 2.0) -> None:
        self._settle(RunnerState.CLOSED)
        process, self._process = self._process, None
        if process is not None:
            process.close(timeout)

    def report(self) -> RunnerReport:
        process = self._process
        usage = process.usage() if process is not None else None
        if process is not None and usage is not None:
            allowed = IDLE_CPU_SECONDS + _IDLE_CPU_SHARE * (time.monotonic() - process.started_at)
            # A call may use every core.
            worked = process.busy_seconds * (os.cpu_count() or 1)
            if usage.cpu_seconds - worked > allowed:
                process.end("it worked on while nobody called it")
        return RunnerReport(
            state=self._state,
            error=self._error,
            pid=process.pid if process is not None else None,
            resident_bytes=usage.resident_bytes if usage is not None else None,
            restarts=self._num_restarts,
            isolation=process.isolation if process is not None else (),
        )

    def _make(self) -> PluginProcess:
        """Its sources are what was approved. It may have read other files of its own: they are looked at
        once more."""
        sources = approved_sources(self.spec)
        process = PluginProcess(
            self.spec, sources, self._bring_back, walls_required=self._walls_required
        )
        try:
            approved_sources(self.spec)
        except PluginLoadError:
            process.end("its files were changed while it was loaded")
            raise
        return process

    def _take(self, process: PluginProcess) -> None:
        with self._changed:
            is_late = self._state is RunnerState.CLOSED
            if not is_late:
                self._process, self._state, self._error = process, RunnerState.READY, ""
                self._changed.notify_all()
        if is_late:
            process.end("it was closed")
        elif process.is_gone:  # it ended before it was ours: its watcher found nothing to do
            threading.Thread(target=self._bring_back, args=(process,), daemon=True).start()

    def _settle(self, state: RunnerState, error: str = "") -> None:
        with self._changed:
            if self._state is not RunnerState.CLOSED:
                self._state, self._error = state, error
            self._changed.notify_all()

    def _successor(self, dead: PluginProcess, deadline: float) -> PluginProcess:
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._state in (RunnerState.FAILED, RunnerState.CLOSED)
                    or (self._process is not None and self._process is not dead)
                ),
                timeout=max(0.0, deadline - time.monotonic()),
            )
            if self._process is None or self._process is dead:
                raise PluginFaultError(FaultKind.UNAVAILABLE, self._error or "it is not running")
            return self._process

    def _bring_back(self, dead: PluginProcess) -> None:
        """In the thread that watched the dead process."""
        with self._changed:
            if self._process is not dead or self._state is RunnerState.CLOSED:
                return
            self._process, self._state, self._error = None, RunnerState.BACKING_OFF, dead.error
        logger.warning("the plugin '%s' is gone: %s", self.spec.slug, dead.error)
        self._on_event("died", dead.error)
        ran_for = time.monotonic() - dead.started_at
        while self._may_restart():
            delay = self._backoff.next_delay(ran_for)
            with self._changed:
                if self._changed.wait_for(lambda: self._state is RunnerState.CLOSED, delay):
                    return
            self._restarts.append(time.monotonic())
            self._num_restarts += 1
            ran_for = 0.0
            try:
                process = self._make()
            except (PluginLoadError, RuntimeError) as error:  # no more threads, for one
                logger.warning("the plugin '%s' did not come back: %s", self.spec.slug, error)
                self._settle(RunnerState.BACKING_OFF, str(error))
                if isinstance(error, PluginChangedError):
                    break
                continue
            self._take(process)
            self._on_event("restarted", "")
            return
        reason = f"it is not started again; the last time: {self._error}"
        self._settle(RunnerState.FAILED, reason)
        logger.error("the plugin '%s' stays away: %s", self.spec.slug, reason)
        self._on_event("failed", reason)

    def _may_restart(self) -> bool:
        since = time.monotonic() - WINDOW
        is_full = len(self._restarts) == MAX_RESTARTS
        return not is_full or self._restarts[0] < since
