"""Settings against their schema: what plugins may ask for, and what values are taken."""

from __future__ import annotations

from typing import Any

import pytest

from plugins_app.schema_words import SchemaProblemError
from plugins_app.settings_schema import (
    SettingsError,
    check_schema,
    effective_settings,
    secret_names,
)

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "suffix": {"type": "string", "default": "!", "maxLength": 5},
        "times": {"type": "integer", "minimum": 1},
        "token": {"type": "string", "writeOnly": True, "minLength": 4},
        "style": {
            "type": "object",
            "properties": {"bold": {"type": "boolean", "default": False}},
            "default": {},
        },
    },
    "required": ["times"],
}


def test_defaults_are_filled_in_also_inside() -> None:
    check_schema(SCHEMA)
    assert effective_settings(SCHEMA, {"times": 2}) == {
        "suffix": "!",
        "times": 2,
        "style": {"bold": False},
    }


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "config"),
        ({"times": 0}, "config.times"),
        ({"times": True}, "config.times"),
        ({"times": 1, "suffix": "too long"}, "config.suffix"),
        ({"times": 1, "style": {"bold": 1}}, "config.style.bold"),
        ({"times": 1, "other": 1}, "config"),
        ({"times": 1, "suffix": "\x00"}, "config"),
        ({"times": 1, "suffix": "\ud800"}, "config"),
        ({"times": float("nan")}, "config"),
        ({"times": 1, "suffix": "x" * 70_000}, "config"),
        ([], "config"),
    ],
)
def test_what_the_schema_refuses_is_named(given: Any, field: str) -> None:
    with pytest.raises(SettingsError) as refused:
        effective_settings(SCHEMA, given)
    assert refused.value.problems[0][0] == field


def test_a_refusal_never_repeats_a_secret() -> None:
    assert secret_names(SCHEMA) == ("token",)
    with pytest.raises(SettingsError) as refused:
        effective_settings(SCHEMA, {"times": 1, "token": "abc"})
    assert "abc" not in str(refused.value)
    assert "config.token" in str(refused.value)


@pytest.mark.parametrize(
    "rule",
    [
        {"anyOf": [{"required": ["other"]}, {"required": ["another"]}]},
        {"not": {"required": ["token"]}},
        {"minProperties": 5},
        {"enum": [{}]},
    ],
)
def test_a_rule_for_all_settings_together_repeats_no_secret(rule: dict[str, Any]) -> None:
    schema = {**of(token={"type": "string", "writeOnly": True}), **rule}
    check_schema(schema)
    with pytest.raises(
        SettingsError, match=f"config: does not keep to {next(iter(rule))}"
    ) as refused:
        effective_settings(schema, {"token": "s3cr3t"})
    assert "s3cr3t" not in f"{refused.value} {refused.value.for_all} {refused.value.problems}"


def test_words_for_all_readers_quote_no_setting() -> None:
    schema = of(words={"type": "array", "items": {"type": "string", "maxLength": 3}})
    with pytest.raises(SettingsError, match="'blue'") as refused:
        effective_settings(schema, {"words": ["red", "blue"]})
    assert refused.value.for_all == "config.words: does not keep to maxLength"
    with pytest.raises(SettingsError) as refused:
        effective_settings({**schema, "required": ["words"]}, {})
    assert refused.value.for_all == "config: 'words' is a required property"


def test_without_a_schema_there_are_no_settings() -> None:
    assert effective_settings(None, {}) == {}
    with pytest.raises(SettingsError):
        effective_settings(None, {"a": 1})


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {},
        of(a={"type": "text"}),
        of(a={"$ref": "https://example.org/schema.json"}),
        of(a={"$ref": "file:///etc/passwd"}),
        of(a={"$ref": "#"}),
        of(a={"$ref": "#/$defs/missing"}),
        of(a={"$dynamicRef": "#x"}),
        of(a={"$id": "https://example.org"}),
        {**of(a={"$ref": "#/$defs/x"}), "$defs": {"x": {"items": {"$ref": "#/$defs/x"}}}},
        of(a={"type": "string", "pattern": "("}),
        of(a={"type": "string", "pattern": "x" * 501}),
        of(a={"patternProperties": {"(a+)+": {}}}),
        of(a={"type": "integer", "default": "x"}),
        of(a={"type": "integer", "writeOnly": True}),
        of(a={"type": "string", "writeOnly": True, "default": "x"}),
        of(a={"type": "object", "properties": {"b": {"type": "string", "writeOnly": True}}}),
        {"type": "object", "allOf": [of(a={"type": "string", "writeOnly": True})]},
        of(**{"no name": {}}),
    ],
)
def test_a_schema_that_asks_for_more_is_refused(schema: Any) -> None:
    with pytest.raises(SchemaProblemError):
        check_schema(schema)


def test_references_that_double_at_each_step_are_refused() -> None:
    steps = {
        f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}, {"$ref": f"#/$defs/s{n + 1}"}]}
        for n in range(30)
    }
    schema = {**of(a={"$ref": "#/$defs/s0"}), "$defs": {**steps, "s30": {"type": "string"}}}
    with pytest.raises(SchemaProblemError, match="grow too large"):
        check_schema(schema)


def test_a_schema_nested_without_end_is_refused() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(40):
        schema = of(a=schema)
    with pytest.raises(SchemaProblemError, match="nested"):
        check_schema(schema)


def test_a_pattern_that_would_run_for_ever_ends() -> None:
    schema = of(a={"type": "string", "pattern": "^(a+)+(b|c)+x?(a|aa)+$"})
    check_schema(schema)
    with pytest.raises(SettingsError, match="pattern"):
        effective_settings(schema, {"a": "a" * 5000 + "b" + "a" * 5000 + "!"})


def test_references_inside_are_followed() -> None:
    schema = {**of(a={"$ref": "#/$defs/x"}), "$defs": {"x": {"type": "integer"}}}
    check_schema(schema)
    assert effective_settings(schema, {"a": 1}) == {"a": 1}
    with pytest.raises(SettingsError):
        effective_settings(schema, {"a": "1"})
