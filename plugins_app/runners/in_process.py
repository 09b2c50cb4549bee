"""A core plugin, in the worker's own process: trusted, fast, and nothing can end its calls.

A call that took longer than its budget is a fault like any other, but is known only when it comes
back: Python has no way to end a thread. What it made is not used then.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from types import MappingProxyType

from plugins_app.base import AdaptContext, Context, Hook, PluginRefusal
from plugins_app.host.loading import LoadedPlugin, LoadError, told
from plugins_app.runners.approval import approved_sources
from plugins_app.runners.base import (
    FaultKind,
    PluginFaultError,
    PluginLoadError,
    Runner,
    RunnerReport,
    RunnerState,
)
from plugins_app.runners.context_check import check
from plugins_app.runners.redaction import without_settings
from plugins_app.spec import PluginSpec

logger = logging.getLogger(__name__)


class InProcessRunner(Runner):
    def __init__(self, spec: PluginSpec) -> None:
        super().__init__(spec)
        self._loaded: LoadedPlugin | None = None
        self._state = RunnerState.STARTING
        self._error = ""

    def start(self) -> None:
        try:
            sources = approved_sources(self.spec)
            self._loaded = LoadedPlugin(self.spec.path, self.spec.slug, self.spec.config, sources)
        except (PluginLoadError, LoadError) as error:
            words = without_settings(str(error), self.spec.config)
            self._state, self._error = RunnerState.FAILED, words
            raise PluginLoadError(words) from error
        self._state = RunnerState.READY

    def call(self, hook: Hook, context: Context) -> Context:
        loaded = self._loaded
        if loaded is None:
            raise PluginFaultError(FaultKind.UNAVAILABLE, self._error or "it is not running")
        if isinstance(context, AdaptContext) and context.defaults:
            # The same mapping serves the plugins after this one.
            context = replace(context, defaults=MappingProxyType(dict(context.defaults)))
        began = time.monotonic()
        try:
            outcome = loaded.plugin.execute(context)
        except PluginRefusal:
            raise
        except Exception as error:  # foreign code: anything may come out of it
            logger.exception("the plugin '%s' failed", self.spec.slug)
            raise PluginFaultError(FaultKind.RAISED, told(error)) from error
        took = time.monotonic() - began
        if took > self.spec.budget.call_timeout:
            raise PluginFaultError(FaultKind.TIMEOUT, f"it answered after {took:.1f} seconds")
        return check(outcome, context, self.spec.budget.max_output_bytes)

    def close(self, timeout: float = 2.0) -> None:
        loaded, self._loaded, self._state = self._loaded, None, RunnerState.CLOSED
        if loaded is None:
            return
        cleaner = threading.Thread(
            target=_clean_up, args=(loaded, self.spec.slug), name="plugin-cleanup", daemon=True
        )
        cleaner.start()
        cleaner.join(timeout)
        if cleaner.is_alive():
            logger.warning("the plugin '%s' is still cleaning up", self.spec.slug)

    def report(self) -> RunnerReport:
        return RunnerReport(state=self._state, error=self._error)


def _clean_up(loaded: LoadedPlugin, slug: str) -> None:
    try:
        loaded.plugin.cleanup()
    except Exception:  # it ends here in any case
        logger.exception("the plugin '%s' failed to clean up", slug)
    finally:
        loaded.forget()
