"""Which words of JSON Schema a plugin's settings may use, and how far they may grow. No Django."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import regex

MAX_DEPTH = 16
#: Schemas that one value may be held against, references counted as often as they are followed.
MAX_WEIGHT = 5000
MAX_PATTERN = 500
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
# Whose value is a schema, a list of schemas, or a map of names to schemas.
_ONE = ("items", "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else")
_MANY = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "$defs", "dependentSchemas")
_PLAIN_WORDS = """
    $schema $comment $ref title description default examples deprecated readOnly writeOnly format
    type enum const minimum maximum exclusiveMinimum exclusiveMaximum multipleOf
    minLength maxLength pattern minItems maxItems uniqueItems minContains maxContains
    minProperties maxProperties required dependentRequired
"""
_PLAIN = frozenset(_PLAIN_WORDS.split())
_KNOWN = _PLAIN | {*_ONE, *_MANY, *_MAPS}


class SchemaProblemError(Exception):
    """A schema that plugins may not have; the message names the place and the rule."""


def check_words(schema: Mapping[str, Any]) -> None:
    """Raises SchemaProblemError."""
    _check(schema, "", 0)
    _check_secrets(schema)
    _weigh(schema, schema, {}, ())


def _check(schema: Any, place: str, depth: int) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise SchemaProblemError(f"{place or 'it'}: must be an object")
    if depth > MAX_DEPTH:
        raise SchemaProblemError(f"is nested deeper than {MAX_DEPTH}")
    for word, value in schema.items():
        if word not in _KNOWN:
            raise SchemaProblemError(f"{place}{word[:60]}: is not among the words that may be used")
        if word == "pattern":
            _check_pattern(value, place)
    for name in schema.get("properties", {}) if isinstance(schema.get("properties"), dict) else ():
        if not _NAME.fullmatch(name):
            raise SchemaProblemError(f"{place}properties: {name[:60]!r} is no name for a setting")
    for word, inner in _inner(schema):
        _check(inner, f"{place}{word}.", depth + 1)


def _inner(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for word, value in schema.items():
        if word in _ONE:
            yield word, value
        elif word in _MANY and isinstance(value, list):
            yield from ((f"{word}[{number}]", inner) for number, inner in enumerate(value))
        elif word in _MAPS and isinstance(value, dict):
            yield from ((f"{word}.{name}", inner) for name, inner in value.items())


def _check_pattern(pattern: Any, place: str) -> None:
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        raise SchemaProblemError(f"{place}pattern: must be a text of at most {MAX_PATTERN}")
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise SchemaProblemError(f"{place}pattern: {error}") from error


def _check_secrets(schema: Mapping[str, Any]) -> None:
    """A secret is a text right among the settings: there it is found, sealed and hidden."""
    properties = schema.get("properties")
    hidden: set[int] = set()
    for name, inner in properties.items() if isinstance(properties, dict) else ():
        if isinstance(inner, dict) and inner.get("writeOnly") is True:
            if inner.get("type") != "string":
                raise SchemaProblemError(f"properties.{name}: writeOnly needs the type string")
            if "default" in inner:
                raise SchemaProblemError(f"properties.{name}: writeOnly has no default")
            hidden.add(id(inner))
    for inner in _everywhere(schema):
        if inner.get("writeOnly") and id(inner) not in hidden:
            raise SchemaProblemError("writeOnly: only settings of the first level may have it")


def _everywhere(schema: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for _, inner in _inner(schema):
            yield from _everywhere(inner)


def _weigh(
    schema: Any, root: Mapping[str, Any], known: dict[int, int], way: tuple[int, ...]
) -> int:
    """How many schemas one value may meet. Raises SchemaProblemError where that is no small number."""
    if not isinstance(schema, dict):
        return 1
    if id(schema) in way:
        raise SchemaProblemError("$ref: refers to itself")
    if id(schema) not in known:
        weight, on_the_way = 1, (*way, id(schema))
        for word, inner in _inner(schema):
            if not word.startswith("$defs."):
                weight += _weigh(inner, root, known, on_the_way)
        if "$ref" in schema:
            weight += _weigh(_target(schema["$ref"], root), root, known, on_the_way)
        known[id(schema)] = weight
    if known[id(schema)] > MAX_WEIGHT:
        raise SchemaProblemError("$ref: its references grow too large")
    return known[id(schema)]


def _target(reference: Any, root: Mapping[str, Any]) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#/$defs/"):
        raise SchemaProblemError("$ref: must begin with #/$defs/")
    name = reference.removeprefix("#/$defs/")
    definitions = root.get("$defs")
    if not isinstance(definitions, dict) or name not in definitions or not _NAME.fullmatch(name):
        raise SchemaProblemError(f"$ref: there is no {reference[:60]}")
    return definitions[name]
