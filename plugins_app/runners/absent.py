"""Stands in for a plugin that must not be left out but does not run: every call of it is a fault."""

from __future__ import annotations

from collections.abc import Callable

from plugins_app.base import Context, Hook
from plugins_app.runners.base import (
    FaultKind,
    PluginFaultError,
    Runner,
    RunnerReport,
    RunnerState,
)
from plugins_app.spec import PluginSpec


class AbsentRunner(Runner):
    """`reason` says why it does not run; asked at each call."""

    def __init__(self, spec: PluginSpec, reason: Callable[[], str]) -> None:
        super().__init__(spec)
        self._reason = reason

    def start(self) -> None:
        """There is nothing to start."""

    def call(self, hook: Hook, context: Context) -> Context:
        raise PluginFaultError(FaultKind.UNAVAILABLE, self._reason() or "it is being loaded")

    def close(self, timeout: float = 2.0) -> None:
        """There is nothing to end."""

    def report(self) -> RunnerReport:
        return RunnerReport(RunnerState.FAILED, self._reason())
