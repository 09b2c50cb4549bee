"""The right kind of runner for a plugin."""

from __future__ import annotations

from collections.abc import Callable

from plugins_app.runners.base import Runner
from plugins_app.runners.in_process import InProcessRunner
from plugins_app.runners.isolated import IsolatedRunner, ignore_event
from plugins_app.spec import PluginSpec


def make_runner(
    spec: PluginSpec,
    *,
    walls_required: bool = True,
    on_event: Callable[[str, str], None] = ignore_event,
) -> Runner:
    """Not started yet. Only core plugins run in this process."""
    if spec.tier.is_isolated:
        return IsolatedRunner(spec, walls_required=walls_required, on_event=on_event)
    return InProcessRunner(spec)
