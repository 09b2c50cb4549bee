"""new, check, try: for who writes a plugin."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from plugins_app.authoring.contract import UnusableError, check_contract, spec_of
from plugins_app.authoring.skeletons import skeleton
from plugins_app.base import Hook, PluginCategory
from plugins_app.discovery import is_valid_slug
from plugins_app.management.plugin_verbs.verb import add_verb, named_plugin, say
from plugins_app.services.trial import hook_named, run_trial, try_plugin

_MARKS = {True: "ok  ", False: "FAIL", None: "note"}


def add_to(verbs: Any) -> None:
    new = add_verb(verbs, "new", "Write the file of a new plugin.", _new)
    new.add_argument("name", help="its id: a-z 0-9 _ -")
    new.add_argument("--category", choices=[*PluginCategory], default=PluginCategory.PRE_PROCESSOR)
    new.add_argument("--folder", type=Path, default=Path(), help="where to; by default here")
    check = add_verb(verbs, "check", "Hold a plugin's file or folder against the contract.", _check)
    check.add_argument("path", type=Path)
    check.add_argument("--config", default="{}", help="its settings as a JSON object")
    tried = add_verb(verbs, "try", "Call a plugin once, in a process of its own.", _try)
    tried.add_argument("plugin", help="its id, or the path of its file or folder")
    tried.add_argument("--text", required=True, help="as the prompt, or as the answer")
    tried.add_argument("--hook", choices=[*Hook], help="by default its first one")
    tried.add_argument("--config", help="settings for this call, as a JSON object")


def _new(out: OutputWrapper, options: dict[str, Any]) -> None:
    slug, category = options["name"], PluginCategory(options["category"])
    if not is_valid_slug(slug):
        raise CommandError(f"{slug!r} is no id: a-z 0-9 _ -, at most 63 characters")
    path = options["folder"] / f"{slug}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(skeleton(slug, category, _author()))
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error
    say(
        out,
        options,
        {"path": str(path), "category": category.value},
        f"{path} is there. Next: manage.py plugin check {path}",
    )


def _check(out: OutputWrapper, options: dict[str, Any]) -> None:
    try:
        spec = spec_of(options["path"], _config_in(options) or {})
    except UnusableError as error:
        raise CommandError(str(error)) from error
    findings = list(check_contract(spec))
    lines = [f"{_MARKS[item.is_good]}  {item.name.ljust(9)}  {item.words}" for item in findings]
    answer = {
        "plugin": spec.slug,
        "sha256": spec.sha256,
        "findings": [asdict(finding) for finding in findings],
    }
    say(out, options, answer, "\n".join(lines))
    if any(finding.is_good is False for finding in findings):
        raise CommandError(f"'{spec.slug}' does not keep to the contract")


def _try(out: OutputWrapper, options: dict[str, Any]) -> None:
    named, text, hook = options["plugin"], options["text"], options["hook"]
    config = _config_in(options)
    if named.endswith(".py") or "/" in named:
        try:
            spec = spec_of(Path(named), config or {})
        except UnusableError as error:
            raise CommandError(str(error)) from error
        trial = run_trial(spec, hook_named(spec, hook), text, "admin")
    else:
        row = named_plugin(named)
        trial = try_plugin(actor=None, plugin=row, text=text, hook=hook, config=config)
    result = "" if trial.result is None else json.dumps(trial.result, indent=2, ensure_ascii=False)
    lines = [f"{trial.hook}: {trial.outcome} in {trial.duration * 1000:.1f} ms"]
    lines += [part for part in (trial.reason, result) if part]
    say(out, options, asdict(trial), "\n".join(lines))


def _config_in(options: dict[str, Any]) -> dict[str, Any] | None:
    if options["config"] is None:
        return None
    try:
        config = json.loads(options["config"])
    except ValueError as error:
        raise CommandError(f"--config is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise CommandError("--config must be a JSON object")
    return config


def _author() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return "me"
