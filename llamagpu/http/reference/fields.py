"""A JSON Schema as rows: one for each field, those of objects inside named by their path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

Schema = dict[str, Any]

# Deeper than any body here; it ends what refers to itself.
_MAX_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Field:
    """`name` is `messages[].role`, `kind` is `array of string or null`, `rules` are `1 to 20`."""

    name: str
    kind: str
    is_required: bool
    rules: tuple[str, ...] = ()
    default: str = ""
    text: str = ""


class FieldReader:
    """Reads schemas that refer to each other under `components`."""

    def __init__(self, components: dict[str, Any]) -> None:
        self._components = components

    def resolved(self, schema: Schema) -> Schema:
        """The schema itself, or the one that it refers to."""
        while "$ref" in schema:
            section, name = schema["$ref"].split("/")[-2:]
            schema = self._components[section][name]
        return schema

    def fields_of(self, schema: Schema) -> tuple[Field, ...]:
        """All fields of a body; of one that may have several forms, those of each, once."""
        found: dict[str, Field] = {}
        for form in self._forms(schema):
            for field in self._walk(form, "", 0):
                found.setdefault(field.name, field)
        return tuple(found.values())

    def field(
        self, name: str, schema: Schema, *, is_required: bool = False, text: str = ""
    ) -> Field:
        """One field, without those inside it."""
        whole = self.resolved(schema)
        return Field(
            name=name,
            kind=self._kind(whole),
            is_required=is_required,
            rules=tuple(_rules(self._bounded(whole))),
            default=json.dumps(whole["default"]) if "default" in whole else "",
            text=text or schema.get("description", "") or whole.get("description", ""),
        )

    def _walk(self, schema: Schema, prefix: str, depth: int) -> Iterator[Field]:
        required = schema.get("required", ())
        for name, inner in schema.get("properties", {}).items():
            path = f"{prefix}{name}"
            yield self.field(path, inner, is_required=name in required)
            if depth < _MAX_DEPTH:
                for form in self._forms(inner):
                    is_list = form.get("type") == "array"
                    for one in (
                        self._forms(form["items"]) if is_list and "items" in form else [form]
                    ):
                        yield from self._walk(one, f"{path}{'[]' if is_list else ''}.", depth + 1)

    def _forms(self, schema: Schema) -> list[Schema]:
        whole = self.resolved(schema)
        choices = whole.get("oneOf") or whole.get("anyOf") or [whole]
        return [self.resolved(choice) for choice in choices]

    def _bounded(self, schema: Schema) -> Schema:
        """Where the rules of a value stand: with null beside it, in its one other form."""
        forms = [form for form in self._forms(schema) if form.get("type") != "null"]
        return forms[0] if len(forms) == 1 else schema

    def _kind(self, schema: Schema) -> str:
        if "const" in schema:
            return json.dumps(schema["const"])
        forms = self._forms(schema)
        if len(forms) > 1:
            return _(" or ").join(dict.fromkeys(self._kind(form) for form in forms))
        kinds = schema.get("type", _("any value"))
        return _(" or ").join(
            self._array(schema) if kind == "array" else _formatted(kind, schema)
            for kind in (kinds if isinstance(kinds, list) else [kinds])
        )

    def _array(self, schema: Schema) -> str:
        items = schema.get("items")
        return (
            _("list of %(kind)s") % {"kind": self._kind(self.resolved(items))}
            if items
            else _("list")
        )


def _formatted(kind: str, schema: Schema) -> str:
    form = schema.get("format", "")
    return f"{kind} ({form})" if kind == "string" and form else kind


def _rules(schema: Schema) -> Iterator[str]:
    """What a value must keep to, in words."""
    for least, most, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", _("characters")),
        ("minItems", "maxItems", _("entries")),
    ):
        if (said := _range(schema.get(least), schema.get(most))) is not None:
            yield f"{said} {unit}".strip()
    if "enum" in schema:
        names = ", ".join(str(value) for value in schema["enum"])
        yield _("one of %(names)s") % {"names": names}
    if "pattern" in schema:
        yield _("matches %(pattern)s") % {"pattern": schema["pattern"]}


def _range(least: float | None, most: float | None) -> str | None:
    if least is not None and most is not None:
        return _("%(least)s to %(most)s") % {"least": _plain(least), "most": _plain(most)}
    if least is not None:
        return _("at least %(least)s") % {"least": _plain(least)}
    if most is not None:
        return _("at most %(most)s") % {"most": _plain(most)}
    return None


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)
