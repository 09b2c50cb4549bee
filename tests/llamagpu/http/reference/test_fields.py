"""What a row says of a field, whatever form its schema has."""

from __future__ import annotations

from typing import Any

import pytest

from llamagpu.http.reference.fields import Field, FieldReader

COMPONENTS = {
    "schemas": {
        "Format": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
        },
        "Tree": {"type": "object", "properties": {"inner": {"$ref": "#/components/schemas/Tree"}}},
    }
}


def fields_of(schema: dict[str, Any]) -> list[Field]:
    return list(FieldReader(COMPONENTS).fields_of(schema))


@pytest.mark.parametrize(
    ("schema", "kind", "rules"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 20}, "integer", ("1 to 20",)),
        ({"type": "number", "minimum": 0.0, "maximum": 2.5}, "number", ("0 to 2.5",)),
        ({"type": ["integer", "null"], "minimum": 0}, "integer or null", ("at least 0",)),
        ({"type": "string", "maxLength": 128}, "string", ("at most 128 characters",)),
        ({"type": "string", "minLength": 1, "maxLength": 5}, "string", ("1 to 5 characters",)),
        ({"type": "string", "format": "date-time"}, "string (date-time)", ()),
        ({"type": "string", "pattern": "^a+$"}, "string", ("matches ^a+$",)),
        ({"enum": ["a", "b"], "type": "string"}, "string", ("one of a, b",)),
        ({"type": "array", "items": {"type": "string"}}, "list of string", ()),
        ({"type": "array", "maxItems": 8}, "list", ("at most 8 entries",)),
        ({"const": "embedding"}, '"embedding"', ()),
        ({}, "any value", ()),
        (
            {"oneOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]},
            "string or null",
            ("at most 9 characters",),
        ),
    ],
)
def test_kind_and_rules_are_told_in_words(
    schema: dict[str, Any], kind: str, rules: tuple[str, ...]
) -> None:
    (field,) = fields_of({"type": "object", "properties": {"x": schema}})
    assert (field.kind, field.rules) == (kind, rules)


def test_a_field_tells_its_default_its_text_and_whether_it_is_required() -> None:
    body = {
        "type": "object",
        "required": ["first"],
        "properties": {
            "first": {"type": "string", "description": "what is asked"},
            "second": {"type": "boolean", "default": False},
        },
    }
    assert fields_of(body) == [
        Field("first", "string", True, text="what is asked"),
        Field("second", "boolean", False, default="false"),
    ]


def test_fields_inside_objects_and_lists_are_named_by_their_path() -> None:
    body = {
        "type": "object",
        "properties": {
            "format": {"oneOf": [{"$ref": "#/components/schemas/Format"}, {"type": "null"}]},
            "list": {"type": "array", "items": {"$ref": "#/components/schemas/Format"}},
        },
    }
    assert [(field.name, field.is_required) for field in fields_of(body)] == [
        ("format", False),
        ("format.name", True),
        ("list", False),
        ("list[].name", True),
    ]


def test_of_a_body_with_several_forms_each_field_is_told_once() -> None:
    forms = [
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
        {"type": "object", "properties": {"a": {"type": "string"}, "c": {"type": "string"}}},
    ]
    assert [field.name for field in fields_of({"oneOf": forms})] == ["a", "b", "c"]


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    names = [field.name for field in fields_of({"$ref": "#/components/schemas/Tree"})]
    assert names[:2] == ["inner", "inner.inner"]
    assert len(names) < 10
