"""Stages 4/7 and 6/7: the plugins of one request, each called in its place, in order.

A refusal ends the request with the plugin's name and reason. A fault ends it where the plugin's policy
is fail_closed; else the request goes on without what the plugin would have done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, Protocol, TypeVar, cast

from llamagpu.lib.error_codes import ErrorCode
from plugins_app.base import (
    AdaptContext,
    ChunkContext,
    Context,
    Hook,
    PluginRefusal,
    PromptContext,
    ResultContext,
)
from plugins_app.runners.base import FaultKind, PluginFaultError
from plugins_app.spec import FailurePolicy, PluginSpec

logger = logging.getLogger(__name__)

_MAX_REASON = 300

C = TypeVar("C", AdaptContext, PromptContext, ChunkContext, ResultContext)


class PluginLink(Protocol):
    """One plugin as a request calls it."""

    @property
    def spec(self) -> PluginSpec: ...

    def call(self, hook: Hook, context: Context) -> Context:
        """`context` with what the plugin may change. Raises PluginRefusal and PluginFaultError."""


class PluginSource(Protocol):
    """Gives out the plugins that run now."""

    def lease(self) -> AbstractContextManager[Sequence[PluginLink]]:
        """They stay usable until the context is left, whatever is reloaded meanwhile.

        Raises PluginsUnknownError.
        """


class PluginStopError(Exception):
    """A plugin ends the request; the message is for the caller."""

    code: ClassVar[ErrorCode]


class PluginRefusedError(PluginStopError):
    code = ErrorCode.PLUGIN_REFUSED

    def __init__(self, slug: str, reason: str) -> None:
        super().__init__(f"The plugin '{slug}' refused this request: {_told(reason)}")


class PluginFailedError(PluginStopError):
    code = ErrorCode.PLUGIN_FAILED

    def __init__(self, slug: str) -> None:
        super().__init__(f"The plugin '{slug}' failed, and nothing is answered without it.")


class PluginsUnknownError(PluginStopError):
    """What acts on requests is not known: one that must not be missed may be among it."""

    code = ErrorCode.BACKEND_UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("Which plugins act on requests is not known yet: try again soon.")


class Chain:
    """The plugins that apply to one request. Says of each result which of them changed something."""

    def __init__(self, links: Iterable[PluginLink] = ()) -> None:
        ordered = sorted(links, key=lambda link: link.spec.order)
        self._by_hook = {
            hook: tuple(link for link in ordered if hook in link.spec.hooks)
            for hook in (Hook if ordered else ())
        }

    @classmethod
    def of(cls, links: Sequence[PluginLink], model: str, role: str) -> Chain:
        """Those of `links` that apply to this model and role."""
        if not links:
            return EMPTY_CHAIN
        return cls(link for link in links if _applies(link.spec, model, role))

    def has(self, hook: Hook) -> bool:
        return bool(self._by_hook.get(hook))

    def links(self, hook: Hook) -> tuple[PluginLink, ...]:
        return self._by_hook.get(hook, ())

    def adapt(
        self, context: AdaptContext, check: Callable[[AdaptContext], None]
    ) -> tuple[AdaptContext, list[str]]:
        """`check` raises ValueError for what the model cannot be told. Raises PluginStopError."""
        return self._run(Hook.ADAPT, context, check)

    def prompt(self, context: PromptContext) -> tuple[PromptContext, list[str]]:
        """Raises PluginStopError."""
        return self._run(Hook.PROMPT, context)

    def result(self, context: ResultContext) -> tuple[ResultContext, list[str]]:
        """Raises PluginStopError."""
        return self._run(Hook.RESULT, context)

    def refuse_unreadable(self) -> None:
        """For a prompt that is no text. Raises PluginRefusedError for a plugin that must read it."""
        for link in self.links(Hook.PROMPT):
            if link.spec.policy is FailurePolicy.FAIL_CLOSED:
                reason = "it reads text, and this prompt is token ids."
                raise PluginRefusedError(link.spec.slug, reason)

    def _run(
        self, hook: Hook, context: C, check: Callable[[C], None] | None = None
    ) -> tuple[C, list[str]]:
        acted = []
        for link in self.links(hook):
            outcome = call_link(link, hook, context, check)
            if outcome is not None and outcome != context:
                context = outcome
                acted.append(link.spec.slug)
        return context, acted


EMPTY_CHAIN = Chain()


def call_link(
    link: PluginLink, hook: Hook, context: C, check: Callable[[C], None] | None = None
) -> C | None:
    """What a plugin makes of a context; None where it failed and need not be there.

    Raises PluginStopError.
    """
    spec = link.spec
    try:
        outcome = cast(C, link.call(hook, context))
        if check is not None:
            check_by(check, outcome)
        return outcome
    except PluginRefusal as refusal:
        raise PluginRefusedError(spec.slug, str(refusal)) from None
    except PluginFaultError as fault:
        is_needed = spec.policy is FailurePolicy.FAIL_CLOSED
        effect = "the request ends" if is_needed else "skipped"
        logger.warning("plugin '%s', %s: %s: %s (%s)", spec.slug, hook, effect, fault, fault.kind)
        if is_needed:
            raise PluginFailedError(spec.slug) from fault
        return None


def check_by(check: Callable[[C], None], outcome: C) -> None:
    """Raises PluginFaultError for what `check` does not like."""
    try:
        check(outcome)
    except ValueError as error:
        raise PluginFaultError(FaultKind.GARBAGE, str(error)) from error


def _applies(spec: PluginSpec, model: str, role: str) -> bool:
    return (not spec.models or model in spec.models) and (not spec.roles or role in spec.roles)


def _told(reason: str) -> str:
    """A plugin's words as a caller may read them: one short line."""
    line = "".join(letter if letter.isprintable() else " " for letter in reason).strip()
    return f"{line[:_MAX_REASON]}…" if len(line) > _MAX_REASON else line or "it gave no reason."
