"""Which plugins run: enabled, disabled, started anew. Workers follow (`plugins_app.wanted`)."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring.audit_actions import AuditAction
from plugins_app.models import Plugin
from plugins_app.services.changes import (
    control_of,
    files_problem,
    locked,
    save_change,
    settings_problem,
    settle,
)
from plugins_app.services.scanning import scan_plugins
from plugins_app.states import PluginState


@transaction.atomic
def enable_plugin(*, actor: Any, plugin: Plugin) -> Plugin:
    """Have every worker run it, now and after each restart.

    Raises AppError CONFLICT for one that waits for approval or cannot run, INVALID_INPUT where its
    settings are not complete.
    """
    row = locked(plugin)
    check_runnable(row)
    if row.state == PluginState.LOADED:
        return row
    before = control_of(row)
    row.is_enabled = True
    settle(row)
    save_change(row, actor=actor, action=AuditAction.PLUGIN_ENABLED, before=before)
    return row


@transaction.atomic
def disable_plugin(*, actor: Any, plugin: Plugin) -> Plugin:
    """Have no worker run it. Requests that are under way end with it."""
    row = locked(plugin)
    if not row.is_enabled:
        return row
    before = control_of(row)
    row.is_enabled = False
    settle(row)
    save_change(row, actor=actor, action=AuditAction.PLUGIN_DISABLED, before=before)
    return row


def reload_plugin(*, actor: Any, plugin: Plugin) -> Plugin:
    """Have every worker put a new instance in the place of the one that runs, files read again.

    Raises AppError CONFLICT for one that is not loaded, also because its files have changed.
    """
    scan_plugins(actor=actor)
    with transaction.atomic():
        row = locked(plugin)
        check_runnable(row)
        if row.state != PluginState.LOADED:
            raise AppError(ErrorCode.CONFLICT, f"'{row.slug}' is not loaded: load it.")
        save_change(row, actor=actor, action=AuditAction.PLUGIN_RELOADED, before=control_of(row))
    return row


def check_runnable(row: Plugin) -> None:
    """Raises AppError as `enable_plugin` does."""
    check_loadable(row)
    if wrong := settings_problem(row):
        raise AppError(ErrorCode.INVALID_INPUT, f"{wrong}. Set it before loading '{row.slug}'.")


def check_loadable(row: Plugin) -> None:
    """Raises AppError CONFLICT where its files may not run."""
    if wrong := files_problem(row):
        raise AppError(ErrorCode.CONFLICT, f"'{row.slug}' cannot be loaded: {wrong}")
    if not row.is_approved:
        raise AppError(
            ErrorCode.CONFLICT,
            f"'{row.slug}' waits for approval: read its files, then approve sha256 {row.sha256}.",
            details={"sha256": row.sha256},
        )
