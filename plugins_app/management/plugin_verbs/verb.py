"""What the verbs of `manage.py plugin` share: how one is declared, the plugin that it names."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from plugins_app.models import Plugin

Handler = Callable[[OutputWrapper, dict[str, Any]], None]


def add_verb(verbs: Any, name: str, text: str, handler: Handler) -> ArgumentParser:
    """`handler` gets the command's output and options. Every verb has --json."""
    parser: ArgumentParser = verbs.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(handler=handler)
    return parser


def named_plugin(slug: str) -> Plugin:
    """Raises CommandError naming the plugins that there are."""
    row = Plugin.objects.select_related("approved_by").filter(slug=slug).first()
    if row is None:
        known = ", ".join(Plugin.objects.values_list("slug", flat=True)) or "none"
        raise CommandError(f"there is no plugin '{slug}'; there are: {known}")
    return row


def say(out: OutputWrapper, options: dict[str, Any], answer: dict[str, Any], text: str) -> None:
    """One JSON object for programs, `text` for people."""
    out.write(json.dumps(answer) if options["json"] else text)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Columns as wide as their widest cell, two spaces apart."""
    lines = [head, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
