"""Reads who a plugin is from its file without running it.

The file is parsed, never imported: PLUGIN_METADATA and SETTINGS_SCHEMA must be literals, the class is
found by its base. Every refusal names the field and the rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from plugins_app.base import API_VERSION, Hook, PluginCategory
from plugins_app.plain_json import PlainJsonError, plain_json
from plugins_app.plugin_source import SourceError, class_problem, literal, plugin_classes, read_tree
from plugins_app.schema_words import SchemaProblemError
from plugins_app.settings_schema import check_schema

BACKENDS = ("cuda", "rocm", "cpu")
MAX_DEPENDENCIES = 50
# Names that say the same in other words.
_CATEGORY_ALIASES = {"post_processor": "output_processor", "analytics": "observer"}
_REQUIRED = (
    "name",
    "version",
    "author",
    "description",
    "dependencies",
    "compatibility",
    "category",
)
_OPTIONAL = ("hooks", "api_version")
_LENGTHS = {"name": 100, "version": 64, "author": 200, "description": 2000}
_SEMANTIC_VERSION = re.compile(
    r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?"
)


class ManifestError(Exception):
    """`field` is what is wrong: a key of the metadata, `file`, `class` or SETTINGS_SCHEMA."""

    def __init__(self, field_name: str, rule: str) -> None:
        super().__init__(f"{field_name}: {rule}")
        self.field = field_name
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a plugin says of itself, checked. `settings_schema` is None where it has no settings."""

    name: str
    version: str
    author: str
    description: str
    dependencies: tuple[str, ...]
    compatibility: tuple[str, ...]
    category: PluginCategory
    hooks: tuple[Hook, ...]
    class_name: str
    api_version: int = 1
    settings_schema: dict[str, Any] | None = field(default=None)


def read_manifest(path: Path) -> Manifest:
    """Of a plugin's file, or of a package folder by its `__init__.py`. Raises ManifestError."""
    try:
        tree = read_tree(path / "__init__.py" if path.is_dir() else path)
        metadata = literal(tree, "PLUGIN_METADATA")
        schema = literal(tree, "SETTINGS_SCHEMA")
        classes = plugin_classes(tree)
    except SourceError as error:
        raise ManifestError(error.field, error.rule) from error
    if metadata is None:
        raise ManifestError("PLUGIN_METADATA", "is missing")
    if len(classes) != 1:
        number = "has none" if not classes else f"has {len(classes)}"
        raise ManifestError("class", f"needs exactly one that derives from BasePlugin, {number}")
    if problem := class_problem(classes[0]):
        raise ManifestError("class", problem)
    return _checked(metadata, schema, classes[0].name)


def _checked(metadata: Any, schema: Any, class_name: str) -> Manifest:
    if not isinstance(metadata, dict):
        raise ManifestError("PLUGIN_METADATA", "must be a dict")
    for key in metadata:
        if key not in (*_REQUIRED, *_OPTIONAL):
            raise ManifestError(_shown(key), "is no key of PLUGIN_METADATA")
    for key in _REQUIRED:
        if key not in metadata:
            raise ManifestError(key, "is missing in PLUGIN_METADATA")
    try:
        metadata = plain_json(metadata)
    except PlainJsonError as error:
        raise ManifestError("PLUGIN_METADATA", str(error)) from error
    category = _category(metadata["category"])
    return Manifest(
        name=_text(metadata, "name"),
        version=_version(metadata),
        author=_text(metadata, "author"),
        description=_text(metadata, "description"),
        dependencies=_dependencies(metadata),
        compatibility=_compatibility(metadata),
        category=category,
        hooks=_hooks(metadata, category),
        class_name=class_name,
        api_version=_api_version(metadata),
        settings_schema=_schema(schema),
    )


def _text(metadata: Mapping[str, Any], key: str) -> str:
    value, most = metadata[key], _LENGTHS[key]
    if not isinstance(value, str) or not value.strip():
        raise ManifestError(key, "must be a text that is not empty")
    if len(value) > most:
        raise ManifestError(key, f"must have at most {most} characters")
    if not all(char.isprintable() or char in "\n\t" for char in value):
        raise ManifestError(key, "holds a character that cannot be printed")
    return value.strip()


def _version(metadata: Mapping[str, Any]) -> str:
    text = _text(metadata, "version")
    try:
        Version(text)
    except InvalidVersion:
        if not _SEMANTIC_VERSION.fullmatch(text):
            raise ManifestError("version", "must be a version such as 1.4.0") from None
    return text


def _texts(metadata: Mapping[str, Any], key: str) -> list[str]:
    values = metadata[key]
    if not isinstance(values, list | tuple) or not all(isinstance(item, str) for item in values):
        raise ManifestError(key, "must be a list of texts")
    if len(set(values)) < len(values):
        raise ManifestError(key, "names one twice")
    return list(values)


def _dependencies(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    values = _texts(metadata, "dependencies")
    if len(values) > MAX_DEPENDENCIES:
        raise ManifestError("dependencies", f"must be at most {MAX_DEPENDENCIES}")
    for value in values:
        try:
            requirement = Requirement(value) if len(value) <= 200 else None
        except InvalidRequirement:
            requirement = None
        if requirement is None or requirement.url:
            raise ManifestError("dependencies", f"cannot read {_shown(value)}: write torch>=2.0.0")
    return tuple(values)


def _compatibility(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    values = _texts(metadata, "compatibility")
    if unknown := [value for value in values if value not in BACKENDS]:
        known = ", ".join(BACKENDS)
        raise ManifestError("compatibility", f"knows {known}, not {_shown(unknown[0])}")
    if not values:
        raise ManifestError("compatibility", f"must name at least one of {', '.join(BACKENDS)}")
    return tuple(values)


def _category(value: Any) -> PluginCategory:
    try:
        return PluginCategory(_CATEGORY_ALIASES.get(value, value))
    except (ValueError, TypeError):
        known = ", ".join(PluginCategory)
        raise ManifestError("category", f"must be one of {known}") from None


def _hooks(metadata: Mapping[str, Any], category: PluginCategory) -> tuple[Hook, ...]:
    if "hooks" not in metadata:
        return category.hooks
    named = _texts(metadata, "hooks")
    known = [hook.value for hook in Hook]
    if not named or any(name not in known for name in named):
        raise ManifestError("hooks", f"must name at least one of {', '.join(known)}, nothing else")
    return tuple(hook for hook in Hook if hook.value in named)


def _api_version(metadata: Mapping[str, Any]) -> int:
    value = metadata.get("api_version", 1)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ManifestError("api_version", "must be a whole number from 1 on")
    if value > API_VERSION:
        raise ManifestError("api_version", f"is {value}, this portal has {API_VERSION}")
    return value


def _schema(schema: Any) -> dict[str, Any] | None:
    if schema is None:
        return None
    if not isinstance(schema, dict):
        raise ManifestError("SETTINGS_SCHEMA", "must be a dict")
    try:
        plain: dict[str, Any] = plain_json(schema)
        check_schema(plain)
    except (PlainJsonError, SchemaProblemError) as error:
        raise ManifestError("SETTINGS_SCHEMA", str(error)) from error
    return plain


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
