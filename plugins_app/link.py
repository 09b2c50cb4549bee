"""One plugin in a chain: asked only while its breaker is closed, with every outcome recorded."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Protocol, TypeVar, cast

from plugins_app.base import Context, Hook, PluginRefusal
from plugins_app.breaker import Breaker
from plugins_app.outcomes import kept
from plugins_app.runners.base import FaultKind, PluginFaultError, Runner
from plugins_app.spec import PluginSpec

C = TypeVar("C", bound=Context)


class Outcome(StrEnum):
    """What became of a call; the `outcome` label of the metrics. A fault has its kind instead."""

    OK = "ok"
    REFUSED = "refused"
    SKIPPED = "skipped"


class Recorder(Protocol):
    """Is told of each call, in the caller's thread: it must be quick."""

    def record(self, slug: str, hook: Hook, outcome: str, seconds: float) -> None: ...

    def fault(self, slug: str, hook: Hook, error: PluginFaultError) -> None: ...

    def breaker(self, slug: str, *, is_open: bool) -> None: ...


class Link:
    """Safe to use from many threads. `spec.hooks`, `models` and `roles` are the chain's to heed."""

    def __init__(
        self, spec: PluginSpec, runner: Runner, breaker: Breaker, health: Recorder
    ) -> None:
        self.spec = spec
        self.runner = runner
        self.breaker = breaker
        self._health = health

    def call(self, hook: Hook, context: C) -> C:
        """`context` with what the plugin may change of it.

        Raises PluginRefusal, and PluginFaultError: UNAVAILABLE without a call while the breaker is open.
        """
        if not self.breaker.may_call():
            self._health.record(self.spec.slug, hook, Outcome.SKIPPED, 0.0)
            raise PluginFaultError(FaultKind.UNAVAILABLE, "it failed too often lately")
        began = time.perf_counter()
        try:
            result = kept(context, self.runner.call(hook, context))
        except PluginRefusal:
            self._good(hook, Outcome.REFUSED, time.perf_counter() - began)
            raise
        except PluginFaultError as error:
            self._bad(hook, error, time.perf_counter() - began)
            raise
        self._good(hook, Outcome.OK, time.perf_counter() - began)
        return cast("C", result)

    def _good(self, hook: Hook, outcome: Outcome, seconds: float) -> None:
        self._health.record(self.spec.slug, hook, outcome, seconds)
        if self.breaker.note_success():
            self._health.breaker(self.spec.slug, is_open=False)

    def _bad(self, hook: Hook, error: PluginFaultError, seconds: float) -> None:
        self._health.record(self.spec.slug, hook, error.kind, seconds)
        self._health.fault(self.spec.slug, hook, error)
        if self.breaker.note_fault():
            self._health.breaker(self.spec.slug, is_open=True)
