"""A plugin as the API, the pages and the command show it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import redis

from plugins_app.health import health_of
from plugins_app.models import Plugin, PluginSettings
from plugins_app.sealed_settings import shown_settings
from plugins_app.settings_schema import with_defaults
from plugins_app.spec import Budget
from plugins_app.standing import Standing, live_reports, standing_of
from plugins_app.upload_folder import is_uploaded


def describe_plugins(
    plugins: Iterable[Plugin], *, with_settings: bool, reports: Any = None
) -> list[dict[str, Any]]:
    """Each plugin with what the workers say of it. Its settings and its place on the disk are for
    who may write plugins: `with_settings`."""
    found = live_reports() if reports is None else reports
    return [
        describe(plugin, standing_of(plugin, found), with_settings=with_settings)
        for plugin in plugins
    ]


def describe(row: Plugin, standing: Standing, *, with_settings: bool) -> dict[str, Any]:
    metadata = row.metadata
    return {
        "id": row.slug,
        "name": row.name,
        "version": row.version,
        "author": row.author,
        "description": row.description,
        "tier": row.tier,
        "category": row.category or None,
        "hooks": metadata.get("hooks", []),
        "compatibility": metadata.get("compatibility", []),
        "dependencies": metadata.get("dependencies", []),
        "api_version": metadata.get("api_version"),
        "state": standing.state.value,
        "problem": row.problem or standing.error or None,
        "enabled": row.is_enabled,
        "order": row.order,
        "policy": row.policy,
        "models": row.for_models,
        "roles": row.for_roles,
        "budget": asdict(Budget(**row.budget)),
        "sha256": row.sha256 or None,
        "approved": row.is_approved,
        "approved_by": row.approved_by.get_username() if row.approved_by else None,
        "approved_at": row.approved_at.isoformat() if row.approved_at else None,
        "uploaded": is_uploaded(row.path),
        "generation": row.generation,
        "updated_at": row.updated_at.isoformat(),
        "settings_schema": row.settings_schema,
        "config": _shown(row, row.config) if with_settings else None,
        "path": row.path if with_settings else None,
        "workers": [asdict(word) for word in standing.workers],
    }


def describe_health(slug: str) -> dict[str, Any] | None:
    """Its calls, faults and times in all workers; None where Redis does not answer."""
    try:
        health = asdict(health_of(slug))
    except redis.RedisError:
        return None
    del health["workers"]  # said beside it
    return health


def describe_change(row: Plugin, entry: PluginSettings) -> dict[str, Any]:
    """One change of settings; secrets are null."""
    return {
        "number": entry.number,
        "actor": entry.actor_name,
        "created_at": entry.created_at.isoformat(),
        "before": _hidden(row, entry, entry.before),
        "after": _hidden(row, entry, entry.after),
    }


def _shown(row: Plugin, config: dict[str, Any]) -> dict[str, Any]:
    """With the defaults that hold."""
    schema = row.settings_schema
    return with_defaults(schema or {}, shown_settings(schema, config))


def _hidden(row: Plugin, entry: PluginSettings, config: dict[str, Any]) -> dict[str, Any]:
    shown = shown_settings(row.settings_schema, config)
    return {name: None if name in entry.hidden else value for name, value in shown.items()}
