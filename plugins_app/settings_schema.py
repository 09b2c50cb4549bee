"""The settings of a plugin against the JSON Schema beside them: the schema checked, values checked.

A schema is foreign text: which words it may use is listed, references stay inside it and do not grow
without end, patterns run under a time limit. No Django.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend

from plugins_app.plain_json import PlainJsonError, plain_json
from plugins_app.schema_words import SchemaProblemError, check_words

#: Seconds that one pattern may take for one text.
_PATTERN_TIME = 0.1
_MAX_PROBLEMS = 20
_MAX_SHOWN = 300
#: Words whose messages name settings, and quote none.
_NAMING = {"required", "additionalProperties", "dependentRequired"}


class SettingsError(Exception):
    """Settings that the schema refuses; `problems` are pairs of field and rule.

    They may quote what is no secret. `for_all` quotes nothing: everybody who sees the plugin reads it.
    """

    def __init__(self, problems: list[tuple[str, str]], for_all: list[str] | None = None) -> None:
        told = [f"{field}: {rule}" for field, rule in problems]
        super().__init__("; ".join(told))
        self.problems = problems
        self.for_all = "; ".join(told if for_all is None else dict.fromkeys(for_all))


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises SchemaProblemError where plugins may not have such a schema."""
    if schema.get("type") != "object":
        raise SchemaProblemError("must have the type object")
    check_words(schema)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise SchemaProblemError(_shown(f"{error.json_path}: {error.message}")) from error
    for name, inner in schema.get("properties", {}).items():
        if isinstance(inner, dict) and "default" in inner:
            _check_default(schema, name, inner["default"])


def effective_settings(schema: Mapping[str, Any] | None, given: Any) -> dict[str, Any]:
    """`given` with defaults filled in, as a plugin reads them. Raises SettingsError."""
    if not isinstance(given, dict):
        raise SettingsError([("config", "must be an object")])
    try:
        whole = with_defaults(schema or {}, plain_json(given))
    except PlainJsonError as error:
        raise SettingsError([("config", str(error))]) from error
    problems = list(_problems(_closed(schema), whole))
    if problems:
        raise SettingsError(
            [(field, rule) for field, rule, _ in problems], [bare for _, _, bare in problems]
        )
    return whole


def with_defaults(schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `given` with the defaults of properties that it leaves out, also of inner ones."""
    whole = copy.deepcopy(dict(given))
    for name, inner in schema.get("properties", {}).items():
        if not isinstance(inner, dict):
            continue
        if name not in whole and "default" in inner:
            whole[name] = copy.deepcopy(inner["default"])
        if isinstance(whole.get(name), dict) and "properties" in inner:
            whole[name] = with_defaults(inner, whole[name])
    return whole


def secret_names(schema: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The properties that are written and never shown."""
    properties = (schema or {}).get("properties", {})
    return tuple(
        name
        for name, inner in properties.items()
        if isinstance(inner, dict) and inner.get("writeOnly") is True
    )


def _closed(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """A setting that the schema does not name is refused, unless it says otherwise."""
    return {"type": "object", "additionalProperties": False, **(schema or {})}


def _check_default(schema: Mapping[str, Any], name: str, default: Any) -> None:
    inner = {"$defs": schema.get("$defs", {}), "properties": {name: schema["properties"][name]}}
    for field, rule, _ in _problems(inner, {name: default}):
        raise SchemaProblemError(f"the default of {field} is wrong: {rule}")


def _problems(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[str, str, str]]:
    """Field and rule, and both in words that quote no value."""
    hidden = secret_names(schema)
    try:
        for number, error in enumerate(_Validator(schema).iter_errors(value)):
            if number == _MAX_PROBLEMS:
                return
            bare = _bare_rule(error)
            field, rule = _field_of(error), bare if _holds_secret(error, hidden) else error.message
            first = f"config.{error.absolute_path[0]}" if error.absolute_path else "config"
            yield field, _shown(rule), f"{first}: {_shown(bare)}"
    except RecursionError:
        rule = "is nested too deep for its schema"
        yield "config", rule, f"config: {rule}"


def _bare_rule(error: ValidationError) -> str:
    names_alone = error.validator in _NAMING and not error.absolute_path
    return error.message if names_alone else f"does not keep to {error.validator}"


def _holds_secret(error: ValidationError, hidden: tuple[str, ...]) -> bool:
    """The library's messages quote the value: of a setting, or of all of them together."""
    if error.absolute_path:
        return error.absolute_path[0] in hidden
    return isinstance(error.instance, dict) and any(name in error.instance for name in hidden)


def _field_of(error: ValidationError) -> str:
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
    )
    return f"config{_shown(path)}"


def _shown(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "string"):
        return
    try:
        if regex.search(pattern, instance, timeout=_PATTERN_TIME) is None:
            yield ValidationError(f"must match the pattern {pattern}")
    except TimeoutError:
        yield ValidationError("takes too long to match against its pattern")


_Validator = extend(Draft202012Validator, {"pattern": _pattern})
