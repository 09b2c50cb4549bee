"""list, show, scan: what there is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import OutputWrapper

from plugins_app.description import describe_plugins
from plugins_app.management.plugin_verbs.verb import add_verb, named_plugin, say, table
from plugins_app.models import Plugin
from plugins_app.services.scanning import scan_plugins


def add_to(verbs: Any) -> None:
    add_verb(verbs, "list", "The plugins, in the order in which they act.", _list)
    show = add_verb(verbs, "show", "Everything about one plugin.", _show)
    show.add_argument("plugin")
    add_verb(verbs, "scan", "Look through the folders now.", _scan)


def _list(out: OutputWrapper, options: dict[str, Any]) -> None:
    rows = Plugin.objects.select_related("approved_by").order_by("order", "slug")
    described = describe_plugins(rows, with_settings=True)
    head = ["PLUGIN", "TIER", "STATE", "ORDER", "VERSION", "CATEGORY", "PROBLEM"]
    lines = [
        [
            plugin["id"],
            plugin["tier"],
            plugin["state"],
            str(plugin["order"]),
            plugin["version"] or "-",
            plugin["category"] or "-",
            plugin["problem"] or "-",
        ]
        for plugin in described
    ]
    say(out, options, {"plugins": described}, table(head, lines))


def _show(out: OutputWrapper, options: dict[str, Any]) -> None:
    (plugin,) = describe_plugins([named_plugin(options["plugin"])], with_settings=True)
    width = max(map(len, plugin))
    lines = [f"{name.ljust(width)}  {'-' if v is None else v}" for name, v in plugin.items()]
    say(out, options, plugin, "\n".join(lines))


def _scan(out: OutputWrapper, options: dict[str, Any]) -> None:
    result = scan_plugins()
    lines = [f"{result.num_found} found"]
    for what in ("added", "changed", "gone"):
        lines += [f"{what}: {slug}" for slug in getattr(result, what)]
    lines += [f"rejected: {slug}: {problem}" for slug, problem in result.rejected.items()]
    say(out, options, asdict(result), "\n".join(lines))
