"""Stages 4/7 and 6/7: runs the plugins before and after the engine, in order.

A plugin that raises anything but a refusal, or answers with something else than its context, is
skipped for this request and logged: one faulty plugin costs its own effect, not the caller's answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeVar

from plugins_app.base import (
    BasePlugin,
    PluginCategory,
    PluginRefusal,
    PromptContext,
    ResultContext,
)

logger = logging.getLogger(__name__)

Context = TypeVar("Context", PromptContext, ResultContext)


class Pipeline:
    """An ordered chain of initialized plugins; safe to use from many threads."""

    def __init__(self, plugins: Sequence[BasePlugin] = ()) -> None:
        self._plugins = tuple(plugins)

    def before(self, prompt: PromptContext) -> tuple[PromptContext, list[str]]:
        """The prompt as the engine shall read it, and the plugins that acted. Raises PluginRefusal."""
        return self._run(PluginCategory.PRE_PROCESSOR, prompt)

    def after(self, result: ResultContext) -> tuple[ResultContext, list[str]]:
        """The result as the caller shall see it, and the plugins that acted. Raises PluginRefusal."""
        return self._run(PluginCategory.OUTPUT_PROCESSOR, result)

    def _run(self, category: PluginCategory, context: Context) -> tuple[Context, list[str]]:
        acted = []
        for plugin in self._plugins:
            metadata = plugin.metadata
            if metadata["category"] != category:
                continue
            name = str(metadata["name"])
            try:
                outcome = plugin.execute(context)
            except PluginRefusal:
                raise
            except Exception:  # plugins are foreign code: anything may come out of them
                logger.exception("the plugin '%s' failed and was skipped", name)
                continue
            if not isinstance(outcome, type(context)):
                logger.error("the plugin '%s' returned a %s: skipped", name, type(outcome).__name__)
                continue
            context = outcome
            acted.append(name)
        return context, acted
