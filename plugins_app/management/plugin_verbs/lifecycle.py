"""approve, load, unload, reload, enable, disable: what runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from plugins_app.description import describe
from plugins_app.management.plugin_verbs.verb import add_verb, named_plugin, say
from plugins_app.models import Plugin
from plugins_app.services.approval import approve_plugin
from plugins_app.services.lifecycle import disable_plugin, enable_plugin, reload_plugin
from plugins_app.standing import await_gone, await_taken_up, live_reports, standing_of

#: Seconds that the command waits for the workers' word.
_PATIENCE = 10.0


def add_to(verbs: Any) -> None:
    approve = add_verb(verbs, "approve", "Let the files of a plugin run as they are.", _approve)
    approve.add_argument("plugin")
    approve.add_argument(
        "sha256", nargs="?", help="of the files that you have read (default: as they are now)"
    )
    for name, text, handler in (
        ("load", "Have every worker run it; wait for their word.", _waiting(enable_plugin)),
        ("reload", "Have every worker start it anew.", _waiting(reload_plugin)),
        ("unload", "Have no worker run it; wait until none does.", _unload),
        ("enable", "As load, without waiting.", _at_once(enable_plugin)),
        ("disable", "As unload, without waiting.", _at_once(disable_plugin)),
    ):
        add_verb(verbs, name, text, handler).add_argument("plugin")


def _approve(out: OutputWrapper, options: dict[str, Any]) -> None:
    row = named_plugin(options["plugin"])
    row = approve_plugin(actor=None, plugin=row, sha256=options["sha256"] or row.sha256)
    say(out, options, _shown(row), f"{row.slug} is approved with sha256 {row.approved_sha256}")


def _waiting(deed: Callable[..., Plugin]) -> Callable[[OutputWrapper, dict[str, Any]], None]:
    def run(out: OutputWrapper, options: dict[str, Any]) -> None:
        row = deed(actor=None, plugin=named_plugin(options["plugin"]))
        standing, is_done = await_taken_up(row, patience=_PATIENCE)
        if standing.error:
            raise CommandError(f"'{row.slug}' could not be loaded: {standing.error}")
        how = "is running" if is_done else "will run: no worker has said so yet"
        say(out, options, describe(row, standing, with_settings=True), f"{row.slug} {how}")

    return run


def _unload(out: OutputWrapper, options: dict[str, Any]) -> None:
    row = disable_plugin(actor=None, plugin=named_plugin(options["plugin"]))
    if not await_gone(row, patience=_PATIENCE):
        raise CommandError(f"'{row.slug}' still ends its requests: see manage.py plugin list")
    say(out, options, _shown(row), f"{row.slug} runs nowhere")


def _at_once(deed: Callable[..., Plugin]) -> Callable[[OutputWrapper, dict[str, Any]], None]:
    def run(out: OutputWrapper, options: dict[str, Any]) -> None:
        row = deed(actor=None, plugin=named_plugin(options["plugin"]))
        said = "enabled" if row.is_enabled else "disabled"
        say(out, options, _shown(row), f"{row.slug} is {said}")

    return run


def _shown(row: Plugin) -> dict[str, Any]:
    return describe(row, standing_of(row, live_reports()), with_settings=True)
