"""Reads of plugins. Each read for a caller starts with `visible_to(user)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from llamagpu.http.permissions import WRITE_PLUGINS, Action, Resource, allows
from plugins_app.spec import FailurePolicy
from plugins_app.states import PluginState

if TYPE_CHECKING:
    from plugins_app.models import Plugin, PluginSettings  # noqa: F401  named in annotations below


def sees_settings(user: Any, key: Any = None) -> bool:
    """Whether `user`, calling with `key` (None for a session), sees how plugins are set."""
    return allows(WRITE_PLUGINS, user, key)


class PluginQuerySet(models.QuerySet["Plugin"]):
    def visible_to(self, user: Any) -> PluginQuerySet:
        """All for who may read plugins, else none."""
        return self if user.can(Resource.PLUGINS, Action.READ) else self.none()

    def wanted(self) -> PluginQuerySet:
        """Those that every worker shall run, in their order, and those that it must not do without.

        The latter are fail_closed and cannot run now: requests that they apply to end meanwhile.
        """
        is_missed = models.Q(is_enabled=True, policy=FailurePolicy.FAIL_CLOSED)
        return self.filter(models.Q(state=PluginState.LOADED) | is_missed).order_by("order", "slug")


class PluginSettingsQuerySet(models.QuerySet["PluginSettings"]):
    def visible_to(self, user: Any) -> PluginSettingsQuerySet:
        """All for who may write plugins, else none."""
        return self if user.can(Resource.PLUGINS, Action.WRITE) else self.none()
