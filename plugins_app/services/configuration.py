"""Settings of plugins: checked against the schema, secrets sealed, each change kept for going back.

A secret goes in and never comes out: not in answers, not in the audit log, not in the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.sealing import UnsealError
from monitoring.audit import SYSTEM
from monitoring.audit_actions import AuditAction
from plugins_app.models import Plugin, PluginSettings
from plugins_app.sealed_settings import carry_over, open_settings, seal_settings, shown_settings
from plugins_app.services.changes import locked, save_change, settle
from plugins_app.settings_schema import SettingsError, effective_settings, secret_names

#: Changes of one plugin that are kept.
MAX_HISTORY = 100


@transaction.atomic
def configure_plugin(*, actor: Any, plugin: Plugin, config: Any) -> Plugin:
    """Give it these settings in place of all those of before; what is left out has its default.

    A secret that is left out, or null, stays as it was. Raises AppError INVALID_INPUT naming the
    setting. A plugin that runs is replaced by one with the new settings.
    """
    row = locked(plugin)
    schema = row.settings_schema
    kept = _secrets_of(row)
    given = _with_secrets(row, config, kept)
    _check(row, given)
    unchanged = [name for name in kept if given[name] == kept[name]]
    sealed = seal_settings(schema, given) | {name: row.config[name] for name in unchanged}
    return _set(row, sealed, actor, AuditAction.PLUGIN_CONFIGURED, {})


@transaction.atomic
def roll_back_settings(*, actor: Any, plugin: Plugin, number: int) -> Plugin:
    """Give it the settings again that it had after its change `number`, secrets too.

    Raises AppError NOT_FOUND, and CONFLICT where they do not keep to its schema any more.
    """
    row = locked(plugin)
    entry = PluginSettings.objects.filter(plugin=row, number=number).first()
    if entry is None:
        raise AppError(ErrorCode.NOT_FOUND, f"'{row.slug}' has no change {number} of its settings.")
    sealed = carry_over(entry.after, entry.hidden, row.settings_schema)
    try:
        effective_settings(row.settings_schema, open_settings(row.settings_schema, sealed))
    except SettingsError as error:
        raise AppError(
            ErrorCode.CONFLICT, f"These settings are not its own any more: {error}."
        ) from error
    except UnsealError as error:
        raise AppError(
            ErrorCode.CONFLICT, "A secret of these settings cannot be opened any more."
        ) from error
    return _set(row, sealed, actor, AuditAction.PLUGIN_ROLLED_BACK, {"number": number})


def trial_settings(row: Plugin, config: Any = None) -> dict[str, Any]:
    """As the plugin would read these, or its own; nothing is kept. Raises AppError INVALID_INPUT."""
    kept = _secrets_of(row)
    own = {name: value for name, value in row.config.items() if name not in kept}
    return _check(row, _with_secrets(row, own if config is None else config, kept))


def _with_secrets(row: Plugin, config: Any, kept: Mapping[str, str]) -> Any:
    """With those of before in place of secrets that are left out or null."""
    if not isinstance(config, dict):
        return config
    hidden = secret_names(row.settings_schema)
    given = {
        name: value for name, value in config.items() if value is not None or name not in hidden
    }
    return {**kept, **given}


def _secrets_of(row: Plugin) -> dict[str, str]:
    """Those that can still be opened."""
    opened: dict[str, str] = {}
    for name in secret_names(row.settings_schema):
        if name in row.config:
            try:
                opened |= open_settings(row.settings_schema, {name: row.config[name]})
            except UnsealError:
                continue
    return opened


def _check(row: Plugin, config: Any) -> dict[str, Any]:
    """The settings as the plugin reads them."""
    try:
        return effective_settings(row.settings_schema, config)
    except SettingsError as error:
        problems = [{"field": field, "message": rule} for field, rule in error.problems]
        raise AppError(ErrorCode.INVALID_INPUT, f"{error}.", details=problems) from error


def _set(
    row: Plugin,
    sealed: dict[str, Any],
    actor: Any,
    action: AuditAction,
    data: Mapping[str, Any],
) -> Plugin:
    if sealed == row.config:
        return row
    schema, before = row.settings_schema, row.config
    row.config = sealed
    settle(row)
    hidden = secret_names(schema)
    new_secrets = [name for name in hidden if sealed.get(name) != before.get(name)]
    _remember(row, before, actor, hidden)
    save_change(
        row,
        actor=actor,
        action=action,
        data={
            **data,
            "settings_before": shown_settings(schema, before),
            "settings_after": shown_settings(schema, sealed),
            "secrets_changed": new_secrets,
        },
    )
    return row


def _remember(row: Plugin, before: dict[str, Any], actor: Any, hidden: tuple[str, ...]) -> None:
    history = PluginSettings.objects.filter(plugin=row).order_by("-number")
    newest = history.values_list("number", flat=True).first() or 0
    PluginSettings.objects.create(
        plugin=row,
        number=newest + 1,
        before=before,
        after=row.config,
        hidden=list(hidden),
        actor=actor,
        actor_name=actor.get_username() if actor else SYSTEM,
    )
    history.filter(number__lte=newest + 1 - MAX_HISTORY).delete()
