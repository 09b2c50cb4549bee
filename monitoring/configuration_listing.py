"""Every setting as the API and the page show it: value, where it comes from, when a change holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection

from llamagpu.lib.config import LlamaConfig, default_model
from llamagpu.lib.env import Env
from llamagpu.lib.setting_fields import FIELD_BY_NAME, SETTING_FIELDS, Applies, SettingField
from monitoring import configuration
from monitoring.models import ConfigValue


@dataclass(frozen=True, slots=True)
class FixedSetting:
    """A setting that only the environment sets; secrets are not among them."""

    variable: str
    default: Any
    description: str


FIXED_GROUP = "Fixed at the start"
FIXED_AT_START: dict[str, FixedSetting] = {
    "host": FixedSetting("LLAMA_HOST", "127.0.0.1", "address to listen on"),
    "port": FixedSetting("LLAMA_PORT", 5000, "port to listen on"),
    "public_url": FixedSetting("LLAMA_PUBLIC_URL", "", "address that users type"),
    "trusted_proxy": FixedSetting(
        "LLAMA_TRUSTED_PROXY", False, "whether a proxy in front is believed"
    ),
    "log_format": FixedSetting("LLAMA_LOG_FORMAT", "text", "lines for people or for programs"),
    "data_dir": FixedSetting("LLAMA_DATA_DIR", None, "database, secrets, sockets, models"),
    "model_path": FixedSetting("LLAMA_MODEL_PATH", None, "the folder of models"),
    "admin_username": FixedSetting("LLAMA_ADMIN_USERNAME", "admin", "the first admin's name"),
    "database": FixedSetting("DATABASE_URL", "sqlite", "kind of database"),
    "redis": FixedSetting(
        "REDIS_URL", "embedded", "whether Valkey is embedded or a server elsewhere"
    ),
}


def list_settings() -> list[dict[str, Any]]:
    """All settings, JSON-ready, in the order in which they are declared."""
    values = stored_values()
    effective = effective_values(values)
    running = configuration.running_values()
    changeable = [
        _describe(field, effective[field.name], field.name in values, running)
        for field in SETTING_FIELDS
    ]
    return changeable + [_describe_fixed(name, fixed) for name, fixed in FIXED_AT_START.items()]


def stored_values() -> dict[str, Any]:
    """The database's own rows, by name; those of a later version are left out."""
    rows = ConfigValue.objects.filter(name__in=FIELD_BY_NAME)
    return dict(rows.values_list("name", "value"))


def effective_values(stored: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What holds, as JSON by name, read from the database now rather than remembered."""
    stored = stored_values() if stored is None else stored
    config: LlamaConfig = settings.LLAMA
    return {
        field.name: stored[field.name]
        if field.name in stored and not configuration.is_fixed_by_environment(field.name)
        else field.kind.show(getattr(config, field.name))
        for field in SETTING_FIELDS
    }


def default_of(field: SettingField) -> Any:
    """The default as JSON."""
    if field.name == "default_model":
        return default_model(settings.LLAMA.model_path)
    return field.kind.show(field.read(Env({})))


def _describe(
    field: SettingField, value: Any, is_stored: bool, running: list[Mapping[str, Any]]
) -> dict[str, Any]:
    is_fixed = configuration.is_fixed_by_environment(field.name)
    pending = field.applies is Applies.RESTART and any(
        field.name in values and values[field.name] != value for values in running
    )
    return {
        "name": field.name,
        "value": value,
        "source": "environment" if is_fixed else "database" if is_stored else "default",
        "default": default_of(field),
        "variable": field.variable,
        "description": field.description,
        "group": field.group,
        "type": field.kind.type,
        **field.kind.limits(),
        "applies": str(field.applies),
        "pending_restart": pending,
        "editable": not is_fixed,
    }


def _describe_fixed(name: str, fixed: FixedSetting) -> dict[str, Any]:
    config: LlamaConfig = settings.LLAMA
    if name == "database":
        value: Any = connection.vendor
    elif name == "redis":
        value = "embedded" if config.embedded_redis else "external"
    else:
        value = getattr(config, name)
    if not isinstance(value, str | int | bool):
        value = str(value)  # a path
    return {
        "name": name,
        "value": value,
        "source": "environment" if Env().is_set(fixed.variable) else "default",
        "default": fixed.default,
        "variable": fixed.variable,
        "description": fixed.description,
        "group": FIXED_GROUP,
        "type": "boolean"
        if isinstance(value, bool)
        else "integer"
        if isinstance(value, int)
        else "string",
        "applies": "restart",
        "pending_restart": False,
        "editable": False,
    }
