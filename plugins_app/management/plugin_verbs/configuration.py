"""order, config, rollback: how plugins act."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from plugins_app.description import describe_change, describe_plugins
from plugins_app.management.plugin_verbs.verb import add_verb, named_plugin, say
from plugins_app.services.arrangement import order_plugins
from plugins_app.services.configuration import configure_plugin, roll_back_settings


def add_to(verbs: Any) -> None:
    order = add_verb(verbs, "order", "Have these act first, in this order.", _order)
    order.add_argument("plugins", nargs="+")
    config = add_verb(verbs, "config", "Show the settings of a plugin, or set them.", _config)
    config.add_argument("plugin")
    config.add_argument("--set", help="all settings as a JSON object")
    config.add_argument("--file", help="a file with that object; - reads stdin, for secrets")
    config.add_argument("--history", action="store_true", help="show the changes so far")
    rollback = add_verb(verbs, "rollback", "Give it the settings of an earlier change.", _rollback)
    rollback.add_argument("plugin")
    rollback.add_argument("number", type=int, help="of the change, as config --history shows it")


def _order(out: OutputWrapper, options: dict[str, Any]) -> None:
    rows = order_plugins(actor=None, slugs=options["plugins"])
    slugs = [row.slug for row in rows]
    say(out, options, {"plugins": slugs}, "\n".join(slugs))


def _config(out: OutputWrapper, options: dict[str, Any]) -> None:
    row = named_plugin(options["plugin"])
    if options["history"]:
        changes = [describe_change(row, entry) for entry in row.settings_history.all()]
        lines = [
            f"{change['number']}  {change['created_at']}  {change['actor']}  "
            f"{json.dumps(change['after'])}"
            for change in changes
        ]
        say(out, options, {"changes": changes}, "\n".join(lines) or "no changes so far")
        return
    if (given := _given(options)) is not None:
        row = configure_plugin(actor=None, plugin=row, config=given)
    _say_config(out, options, row)


def _rollback(out: OutputWrapper, options: dict[str, Any]) -> None:
    row = named_plugin(options["plugin"])
    row = roll_back_settings(actor=None, plugin=row, number=options["number"])
    _say_config(out, options, row)


def _say_config(out: OutputWrapper, options: dict[str, Any], row: Any) -> None:
    (plugin,) = describe_plugins([row], with_settings=True)
    config = plugin["config"]
    say(out, options, {"plugin": row.slug, "config": config}, json.dumps(config, indent=2))


def _given(options: dict[str, Any]) -> Any:
    """What shall be set, None where nothing shall."""
    if options["set"] is not None and options["file"] is not None:
        raise CommandError("--set and --file: give one of them")
    try:
        if options["file"] is not None:
            path = options["file"]
            text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        elif options["set"] is not None:
            text = options["set"]
        else:
            return None
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise CommandError(f"the settings cannot be read: {error}") from error
