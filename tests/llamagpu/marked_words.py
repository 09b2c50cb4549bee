"""What the pages say: the words that are marked for translation, and those that are not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

ROOT: Path = settings.BASE_DIR
APPS = ("accounts", "inference", "llamagpu", "monitoring", "plugins_app")
_WORD = re.compile(r"""\{% translate (?:"([^"]+)"|'([^']+)')""")
_BLOCK = re.compile(
    r"\{% blocktranslate[^%]*%\}(.*?)(?:\{% plural %\}(.*?))?\{% endblocktranslate %\}", re.DOTALL
)
_TAG = re.compile(
    r"(\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}|<(?:[^<>{]|\{%.*?%\}|\{\{.*?\}\})*>)", re.DOTALL
)
_VARIABLE = re.compile(r"\{[%{].*?[%}]\}")
_CODE = re.compile(r"<(pre|code|script)\b.*?</\1>|\{#.*?#\}", re.DOTALL)
_ATTRIBUTE = re.compile(
    r"\b(?:aria-label|title|placeholder|alt|label|data-(?:confirm[a-z-]*|new|old|done|asks))"
    r'="([^"]*)"'
)
_LETTERS = re.compile(r"[A-Za-z]{2}")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`')
_SCRIPT_WORD = re.compile(r'translate\(\s*"((?:[^"\\]|\\.)*)"')
_SENTENCE = re.compile(
    r"(?:^|\s)[A-Z][a-z]+(?:\s|$|[.,:!?])|(?:^| )[a-z]{2,} [a-z]{2,}(?: |$|[.,])"
)
_MARKS = {"_", "gettext", "gettext_lazy", "gettext_noop"}
#: Arguments and calls whose text people read.
_SHOWN = {"label", "help_text"}
_TELLING = {"success", "error", "info", "warning", "ValidationError", "add_error"}

Word = str | tuple[str, str]


def templates() -> Iterator[tuple[str, str]]:
    for path in sorted(ROOT.glob("templates/**/*.html")):
        yield str(path.relative_to(ROOT / "templates")), path.read_text(encoding="utf-8")


def scripts() -> Iterator[tuple[str, str]]:
    """Modules without their comments."""
    for path in sorted(ROOT.glob("static/*/js/**/*.js")):
        text = re.sub(
            r"^\s*(?://|/\*).*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        yield path.name, text


def code() -> Iterator[tuple[str, ast.Module]]:
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            if "migrations" not in path.parts:
                yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def marked_in_templates() -> Iterator[Word]:
    for _, text in templates():
        yield from ((double or single).replace("%", "%%") for double, single in _WORD.findall(text))
        for one, many in _BLOCK.findall(text):
            yield (_message(one), _message(many)) if many else _message(one)


def marked_in_scripts() -> set[str]:
    return {word for _, text in scripts() for word in _SCRIPT_WORD.findall(text)}


def marked_in_code() -> Iterator[str]:
    for _, tree in code():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _name_of(node.func) in _MARKS and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value


def unmarked_in_templates() -> Iterator[tuple[str, str]]:
    """(file, words) of texts and of attributes that are shown or read aloud."""
    for name, text in templates():
        rest = _CODE.sub("", _BLOCK.sub("", text))
        for place, part in enumerate(_TAG.split(rest)):
            is_tag, attributes = part.startswith("<"), _ATTRIBUTE.findall(part)
            for words in [part] if place % 2 == 0 else attributes if is_tag else []:
                plain = _VARIABLE.sub("", words).strip()
                if _LETTERS.search(plain):
                    yield name, plain


def unmarked_in_scripts() -> Iterator[tuple[str, str]]:
    for name, text in scripts():
        for literal in _STRING.findall(_SCRIPT_WORD.sub("translate(", text)):
            words = re.sub(r"\$\{[^{}]*\}", "", literal[1:-1])
            if _SENTENCE.search(words):
                yield name, words


def unmarked_in_code() -> Iterator[tuple[str, str]]:
    """What forms and messages of the pages say."""
    for name, tree in code():
        if "/views/" not in name and "/forms/" not in name:
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            shown = [word.value for word in node.keywords if word.arg in _SHOWN]
            if _name_of(node.func) in _TELLING:
                shown += node.args
            for value in shown:
                if isinstance(value, ast.JoinedStr):
                    yield name, ast.unparse(value)
                elif isinstance(value, ast.Constant) and " " in str(value.value):
                    yield name, str(value.value)


def _message(block: str) -> str:
    """The id under which Django looks the text of a block up; it doubles each % for both tags."""
    return re.sub(r"\{\{ (\w+) \}\}", r"%(\1)s", block.replace("%", "%%"))


def _name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
