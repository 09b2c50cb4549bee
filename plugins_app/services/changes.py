"""What all writes of plugins share: the row locked, its state worked out, its change told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.sealing import UnsealError
from monitoring import audit
from monitoring.audit_actions import AuditAction
from monitoring.live_events import PLUGIN_EVENTS, publish
from plugins_app.bell import ring
from plugins_app.models import Plugin, PluginGeneration
from plugins_app.sealed_settings import open_settings
from plugins_app.settings_schema import SettingsError, effective_settings
from plugins_app.states import PluginState, next_state

_OF_SETTINGS = "settings: "
_MAX_PROBLEM = 1000


def locked(plugin: Plugin) -> Plugin:
    """The row as it is now, until the end of the transaction. Raises AppError PLUGIN_NOT_FOUND."""
    row = Plugin.objects.select_for_update(of=("self",)).filter(pk=plugin.pk).first()
    if row is None:
        raise AppError(ErrorCode.PLUGIN_NOT_FOUND, f"There is no plugin '{plugin.slug}' any more.")
    return row


def settle(row: Plugin) -> None:
    """Bring the state in line with files, approval, settings and wish."""
    row.problem = files_problem(row)
    if row.is_enabled and not row.problem and (wrong := settings_problem(row, for_all=True)):
        row.problem = f"{_OF_SETTINGS}{wrong}"[:_MAX_PROBLEM]
    row.state = next_state(
        PluginState(row.state),
        is_sound=not row.problem,
        is_approved=row.is_approved,
        is_enabled=row.is_enabled,
    )


def files_problem(row: Plugin) -> str:
    """What is wrong with its files, or an empty text."""
    return "" if row.problem.startswith(_OF_SETTINGS) else row.problem


def settings_problem(row: Plugin, *, for_all: bool = False) -> str:
    """Why the settings as they are cannot be given to the plugin, or an empty text.

    `for_all` quotes none of them: whoever may read plugins reads it.
    """
    try:
        effective_settings(row.settings_schema, open_settings(row.settings_schema, row.config))
    except SettingsError as error:
        return error.for_all if for_all else str(error)
    except UnsealError:
        return "a secret cannot be opened any more: set it again"
    return ""


def save_change(
    row: Plugin,
    *,
    actor: Any,
    action: AuditAction,
    before: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Write the row with the next generation and its audit entry, and tell of it after the commit.

    Part of the caller's transaction. `before` is what `control_of` said of the row.
    """
    row.generation = _next_generation()
    row.save()
    after = control_of(row)
    audit.record(
        actor=actor,
        action=action,
        target=row,
        data={"slug": row.slug, **(data or {})},
        before=None if before is None else {name: before[name] for name in _changed(before, after)},
        after=after if before is None else {name: after[name] for name in _changed(before, after)},
    )
    tell(action, _event_of(row))


def tell(action: AuditAction, event: Mapping[str, Any]) -> None:
    """After the commit: ring for the workers, publish `event` for who watches."""

    def announce() -> None:
        ring()
        publish(PLUGIN_EVENTS, str(action).replace(".", "_"), event)

    transaction.on_commit(announce)


def raise_generation() -> None:
    """For a change that leaves no row behind."""
    _next_generation()


def control_of(row: Plugin) -> dict[str, Any]:
    """What the audit log says of a plugin; its settings have their own entries."""
    return {
        "state": str(row.state),
        "enabled": row.is_enabled,
        "version": row.version,
        "sha256": row.sha256,
        "approved_sha256": row.approved_sha256,
        "problem": row.problem,
        "order": row.order,
        "policy": str(row.policy),
        "models": row.for_models,
        "roles": row.for_roles,
        "budget": row.budget,
    }


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [name for name in after if before[name] != after[name]]


def _event_of(row: Plugin) -> dict[str, Any]:
    return {
        "plugin": row.slug,
        "tier": row.tier,
        "version": row.version,
        "state": str(row.state),
        "enabled": row.is_enabled,
        "problem": row.problem,
        "generation": row.generation,
    }


def _next_generation() -> int:
    """The last lock of each change: whoever changes another plugin waits here, and for no row."""
    counter, _ = PluginGeneration.objects.select_for_update().get_or_create(pk=1)
    counter.number += 1
    counter.save(update_fields=["number"])
    return counter.number
