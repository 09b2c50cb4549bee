"""What every worker shall run, as the table of plugins says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llamagpu.lib.prepared_query import PreparedQuery
from llamagpu.lib.sealing import UnsealError
from plugins_app.base import Hook
from plugins_app.models import Plugin, PluginGeneration
from plugins_app.sealed_settings import open_settings
from plugins_app.settings_schema import SettingsError, effective_settings
from plugins_app.spec import Budget, FailurePolicy, PluginSpec, Tier
from plugins_app.states import PluginState

logger = logging.getLogger(__name__)

_OF_NO_FILE = ""
_GENERATION: PreparedQuery[tuple[int]] = PreparedQuery(
    lambda: PluginGeneration.objects.filter(pk=1).values_list("number")
)


def wanted_generation() -> int:
    """Rises with every change of any plugin; one short query. Raises django.db.Error."""
    found = _GENERATION.first()
    return found[0] if found else 0


def wanted_specs() -> tuple[PluginSpec, ...]:
    """Each plugin that shall run, in the order in which they act. Raises django.db.Error.

    One that cannot run now, such as one whose files have changed or whose secrets cannot be opened any
    more, is left out; where it is fail_closed it is there with a digest that no file has.
    """
    found = (_spec_or_none(row) for row in Plugin.objects.wanted())
    return tuple(spec for spec in found if spec is not None)


def _spec_or_none(row: Plugin) -> PluginSpec | None:
    if row.state == PluginState.LOADED:
        try:
            return spec_of(row)
        except (UnsealError, SettingsError) as error:
            why = error.for_all if isinstance(error, SettingsError) else error
            logger.error("the settings of the plugin '%s' cannot be used: %s", row.slug, why)
    if row.policy != FailurePolicy.FAIL_CLOSED:
        return None
    return replace(spec_with(row, {}), sha256=_OF_NO_FILE)


def spec_of(row: Plugin) -> PluginSpec:
    """What a runner is asked to run. Raises UnsealError and SettingsError."""
    opened = open_settings(row.settings_schema, row.config)
    return spec_with(row, effective_settings(row.settings_schema, opened))


def spec_with(row: Plugin, settings: Mapping[str, Any]) -> PluginSpec:
    """The same with other settings, which are checked already."""
    return PluginSpec(
        slug=row.slug,
        version=row.version,
        tier=Tier(row.tier),
        path=Path(row.path),
        sha256=row.sha256 if row.is_core else row.approved_sha256,
        hooks=tuple(Hook(name) for name in row.metadata.get("hooks", ())),
        config=settings,
        order=row.order,
        policy=FailurePolicy(row.policy),
        models=tuple(row.for_models),
        roles=tuple(row.for_roles),
        budget=Budget(**row.budget),
        generation=row.generation,
    )
