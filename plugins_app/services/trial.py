"""Tries a plugin on a sample, in a process of its own: no worker and no request has to do with it."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from django.db import transaction

from llamagpu.http.database import release_connections
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.audit_actions import AuditAction
from plugins_app.base import Hook, PluginRefusal
from plugins_app.models import Plugin
from plugins_app.runners.base import PluginFaultError, PluginLoadError
from plugins_app.runners.isolated import IsolatedRunner
from plugins_app.sample_contexts import sample_context
from plugins_app.services.configuration import trial_settings
from plugins_app.services.lifecycle import check_loadable
from plugins_app.spec import PluginSpec, Tier
from plugins_app.wanted import spec_with

#: Seconds that a trial may take to start and to answer, whatever the plugin's budget.
MAX_START, MAX_CALL = 10.0, 10.0
#: Trials that one web process runs at once.
_room = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class Trial:
    """How a call went: `outcome` is answered, refused or failed. `duration` in seconds."""

    plugin: str
    hook: str
    outcome: str
    result: dict[str, Any] | None
    reason: str | None
    duration: float


def try_plugin(
    *, actor: Any, plugin: Plugin, text: str, hook: str | None = None, config: Any = None
) -> Trial:
    """Start it, call one hook with `text`, end it. `config` holds for this call alone.

    Raises AppError: CONFLICT for one that nobody approved, INVALID_INPUT for settings, or a hook that
    it does not have, BACKEND_UNAVAILABLE where others try something already.
    """
    check_loadable(plugin)
    spec = _spec(plugin, trial_settings(plugin, config))
    chosen = hook_named(spec, hook)
    if not _room.acquire(blocking=False):
        raise AppError(
            ErrorCode.BACKEND_UNAVAILABLE, "Other plugins are being tried now.", retry_after=2
        )
    release_connections()
    try:
        trial = run_trial(spec, chosen, text, actor.role.slug if actor else "admin")
    finally:
        _room.release()
    with transaction.atomic():
        audit.record(
            actor=actor,
            action=AuditAction.PLUGIN_TRIED,
            target=plugin,
            data={"slug": plugin.slug, "hook": trial.hook, "outcome": trial.outcome},
        )
    return trial


def _spec(plugin: Plugin, settings: dict[str, Any]) -> PluginSpec:
    """Isolated whatever its tier, and with no more time than a caller waits."""
    spec = spec_with(plugin, settings)
    budget = replace(
        spec.budget,
        start_timeout=min(MAX_START, spec.budget.start_timeout),
        call_timeout=min(MAX_CALL, spec.budget.call_timeout),
    )
    return replace(spec, tier=Tier.USER, budget=budget)


def hook_named(spec: PluginSpec, hook: str | None) -> Hook:
    """Its first one where none is named. Raises AppError INVALID_INPUT for one that it does not have."""
    if hook is None:
        return spec.hooks[0]
    if hook not in spec.hooks:
        has = ", ".join(spec.hooks)
        raise AppError(ErrorCode.INVALID_INPUT, f"hook: '{spec.slug}' has {has} alone.")
    return Hook(hook)


def run_trial(spec: PluginSpec, hook: Hook, text: str, role: str) -> Trial:
    """One call of a plugin that is started for it."""
    runner = IsolatedRunner(spec)
    result, outcome, reason, began = None, "failed", None, time.perf_counter()
    try:
        runner.start()
        began = time.perf_counter()
        answer = runner.call(hook, sample_context(hook, text, role))
        result, outcome = asdict(answer), "answered"
    except PluginRefusal as refusal:
        outcome, reason = "refused", str(refusal)
    except (PluginLoadError, PluginFaultError) as error:
        reason = str(error)
    finally:
        duration = time.perf_counter() - began
        runner.close()
    return Trial(spec.slug, hook.value, outcome, result, reason, duration)
