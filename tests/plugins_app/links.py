"""Plugins that are called as a request calls them, in this process, without a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plugins_app.base import BasePlugin, Context, Hook, PluginCategory, PluginRefusal
from plugins_app.outcomes import kept
from plugins_app.pipeline import PluginLink
from plugins_app.runners.base import FaultKind, PluginFaultError
from plugins_app.runners.context_check import check
from plugins_app.spec import PluginSpec, Tier


class Plain(BasePlugin):
    """A plugin of a test; what differs is `execute`."""

    metadata: dict[str, Any] = {}


class DirectLink:
    """Calls a plugin of ours, which is made of `cls` and its settings."""

    def __init__(self, cls: type[BasePlugin], spec: PluginSpec) -> None:
        self.spec = spec
        self.plugin = cls(dict(spec.config))
        self.plugin.initialize()

    def call(self, hook: Hook, context: Context) -> Any:
        try:
            made = self.plugin.execute(context)
        except PluginRefusal:
            raise
        except Exception as error:
            raise PluginFaultError(FaultKind.RAISED, repr(error)) from error
        return kept(context, check(made, context, self.spec.budget.max_output_bytes))


def link(
    cls: type[BasePlugin], slug: str, *hooks: Hook | PluginCategory, **fields: Any
) -> DirectLink:
    """`fields` are those of the spec; what is left of them are settings."""
    known = {name: fields.pop(name) for name in PluginSpec.__dataclass_fields__ if name in fields}
    spec = PluginSpec(
        slug=slug,
        version="1.0.0",
        tier=Tier.CORE,
        path=Path("/nowhere"),
        sha256="",
        hooks=tuple(
            part
            for hook in hooks
            for part in (hook.hooks if isinstance(hook, PluginCategory) else (hook,))
        ),
        config=fields,
        **known,
    )
    return DirectLink(cls, spec)


class Source:
    """Gives out the same plugins to everyone, and counts who has them."""

    def __init__(self, *links: PluginLink) -> None:
        self.links: Sequence[PluginLink] = links
        self.num_leased = 0

    @contextmanager
    def lease(self) -> Iterator[Sequence[PluginLink]]:
        self.num_leased += 1
        try:
            yield self.links
        finally:
            self.num_leased -= 1
