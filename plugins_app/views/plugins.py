"""Plugins for people: all in their order, one with health and settings. Changes go through the API."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from llamagpu.http.pages import PageView
from llamagpu.http.permissions import READ_PLUGINS, WRITE_PLUGINS, WRITE_SYSTEM, allows
from plugins_app.base import PluginCategory
from plugins_app.description import describe_change, describe_health, describe_plugins
from plugins_app.models import Plugin
from plugins_app.querysets import sees_settings
from plugins_app.spec import FailurePolicy, Tier
from plugins_app.states import PluginState

_MAX_CHANGES = 20


class PluginsPage(PageView):
    """GET /plugins; with `?part=list` the list alone, which the page's script puts in its place."""

    access = READ_PLUGINS
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        user: Any = request.user
        given = {
            name: value
            for name, known in (("tier", Tier), ("category", PluginCategory))
            if (value := request.GET.get(name, "")) in {word.value for word in known}
        }
        rows = Plugin.objects.visible_to(user).select_related("approved_by").filter(**given)
        context = {
            "plugins": describe_plugins(rows, with_settings=False),
            "may_write": allows(WRITE_PLUGINS, user, None),
            "is_whole": not given,
        }
        if request.GET.get("part") == "list":
            return render(request, "plugins_app/plugin_list.html", context)
        context |= {
            "may_upload": allows(WRITE_PLUGINS, user, None) and allows(WRITE_SYSTEM, user, None),
            "tiers": [tier.value for tier in Tier],
            "categories": [category.value for category in PluginCategory],
            "values": given,
        }
        return render(request, "plugins_app/plugins.html", context)


class PluginPage(PageView):
    """GET /plugins/{id}; with `?part=state` its state and health alone."""

    access = READ_PLUGINS
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest, slug: str) -> HttpResponse:
        user: Any = request.user
        row = (
            Plugin.objects.visible_to(user).select_related("approved_by").filter(slug=slug).first()
        )
        if row is None:
            raise Http404
        may_write = allows(WRITE_PLUGINS, user, None)
        sees_all = sees_settings(user, None)
        (plugin,) = describe_plugins([row], with_settings=sees_all)
        context: dict[str, Any] = {
            "plugin": plugin,
            "health": describe_health(slug),
            "may_write": may_write,
        }
        if request.GET.get("part") == "state":
            return render(request, "plugins_app/plugin_state.html", context)
        changes = row.settings_history.order_by("-number")[:_MAX_CHANGES] if sees_all else []
        context |= {
            "sees_settings": sees_all,
            "changes": [describe_change(row, entry) for entry in changes],
            "policies": [policy.value for policy in FailurePolicy],
            "may_delete": plugin["uploaded"] and may_write and allows(WRITE_SYSTEM, user, None),
            "can_be_tried": plugin["state"] != PluginState.REJECTED,
        }
        return render(request, "plugins_app/plugin.html", context)
