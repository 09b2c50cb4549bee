"""Tidies up whole answers: trims them, takes the JSON out of them, mends or removes Markdown."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from plugins_app.base import BasePlugin, PluginRefusal, ResultContext

PLUGIN_METADATA = {
    "name": "Output processor",
    "version": "1.0.0",
    "author": "LLaMA GPU",
    "description": "Trims answers, keeps nothing but the JSON that they hold, closes and tidies up "
    "Markdown or makes plain text of it. While it is active a stream comes in one piece.",
    "dependencies": [],
    "compatibility": ["cuda", "rocm", "cpu"],
    "category": "output_processor",
}
SETTINGS_SCHEMA = {
    "type": "object",
    "properties": {
        "trim": {
            "description": "no white space around the answer",
            "type": "boolean",
            "default": True,
        },
        "json": {
            "description": "extract: nothing but the first JSON object or array",
            "enum": ["off", "extract"],
            "default": "off",
        },
        "without_json": {
            "description": "what becomes of an answer that holds none",
            "enum": ["keep", "refuse"],
            "default": "keep",
        },
        "markdown": {
            "description": "clean: closed code blocks, no surplus lines; plain: no marks at all",
            "enum": ["off", "clean", "plain"],
            "default": "off",
        },
    },
}

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_OPENING = re.compile(r"[{\[]")
# Places at which JSON may begin that are tried.
_MAX_TRIES = 200
_MARKS = (
    (re.compile(r"^ {0,3}#{1,6} +", re.MULTILINE), ""),
    (re.compile(r"^ {0,3}> ?", re.MULTILINE), ""),
    (re.compile(r"!?\[([^\[\]\n]{0,500})\]\([^()\s]{0,2000}\)"), r"\1"),
    (re.compile(r"(\*\*|__)(?=\S)([^*_\n]{1,2000})(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![\w*])\*(?=\S)([^*\n]{1,2000})(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"`([^`\n]{1,2000})`"), r"\1"),
)


class OutputProcessor(BasePlugin):
    metadata = PLUGIN_METADATA

    def execute(self, input_data: ResultContext) -> ResultContext:
        text = input_data.text
        if self.config["json"] == "extract":
            text = self._json_of(text)
        elif self.config["markdown"] == "clean":
            text = clean(text)
        elif self.config["markdown"] == "plain":
            text = plain(text)
        return replace(input_data, text=text.strip() if self.config["trim"] else text)

    def _json_of(self, text: str) -> str:
        found = find_json(text)
        if found is None and self.config["without_json"] == "refuse":
            raise PluginRefusal("the answer holds no JSON")
        return text if found is None else found


def find_json(text: str) -> str | None:
    """The first JSON object or array in a text, as it stands there."""
    decoder: Any = json.JSONDecoder()
    for number, match in enumerate(_OPENING.finditer(text)):
        if number == _MAX_TRIES:
            break
        try:
            _, end = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        return text[match.start() : end]
    return None


def clean(text: str) -> str:
    """Markdown whose code blocks end, without trailing blanks or more than one empty line."""
    lines: list[str] = []
    fence = ""
    for line in text.splitlines():
        fence_after = _fence_after(fence, line)
        if fence:
            lines.append(line)
        elif line.strip() or (lines and lines[-1]):
            lines.append(line.rstrip())
        fence = fence_after
    if fence:
        lines.append(fence)
    return "\n".join(lines) + ("\n" if text.endswith("\n") and not fence else "")


def plain(text: str) -> str:
    """The words of Markdown; what stands in code blocks stays as it is."""
    parts: list[str] = []
    prose: list[str] = []
    fence = ""
    for line in text.splitlines():
        fence_after = _fence_after(fence, line)
        if fence and fence_after:
            parts += [_unmarked(prose), line]
            prose = []
        elif not fence and not fence_after:
            prose.append(line)
        fence = fence_after
    parts.append(_unmarked(prose))
    return "\n".join(part for part in parts if part) + ("\n" if text.endswith("\n") else "")


def _fence_after(fence: str, line: str) -> str:
    """The mark that ends the code block that is open behind `line`; empty: none is."""
    match = _FENCE.match(line)
    if match is None:
        return fence
    if not fence:
        return match[1]
    return "" if match[1].startswith(fence) and not line.strip().strip(fence[0]) else fence


def _unmarked(lines: list[str]) -> str:
    text = "\n".join(lines)
    for pattern, without in _MARKS:
        text = pattern.sub(without, text)
    return text
