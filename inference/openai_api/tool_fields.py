"""Stage 2/7 of the OpenAI door: functions that the model may, or must, call.

A forced call follows the function's schema by structured output, with any model. A free choice is
served where the model's chat template knows tools; another model would not know what to write.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.sampling_fields import MAX_GRAMMAR_CHARS, JsonObjectField
from inference.openai_api.fields import problem
from inference.protocol import Grammar, GrammarKind
from llamagpu.http.fields import FlagField, StrictSerializer, TextField

MAX_TOOLS = 64


class FunctionSerializer(StrictSerializer):
    name = serializers.RegexField(r"\A[a-zA-Z0-9_-]{1,64}\Z")
    description = TextField(required=False, allow_blank=True, max_length=4096)
    parameters = JsonObjectField(required=False)
    strict = FlagField(required=False, allow_null=True)


class ToolSerializer(StrictSerializer):
    type = serializers.ChoiceField(choices=["function"])
    function = FunctionSerializer()


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "enum": ["none", "auto", "required"]},
            {
                "type": "object",
                "properties": {
                    "type": {"const": "function"},
                    "function": {"type": "object", "properties": {"name": {"type": "string"}}},
                },
                "required": ["type", "function"],
            },
        ]
    }
)
class ToolChoiceField(serializers.Field[str, Any, str, Any]):
    """`none`, `auto`, `required`, or the function that must be called, as `=name`."""

    default_error_messages = {
        "invalid": "Must be none, auto, required or "
        '{"type": "function", "function": {"name": "..."}}.'
    }

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, str) and data in ("none", "auto", "required"):
            return data
        if isinstance(data, dict) and set(data) == {"type", "function"}:
            named = data["function"]
            if data["type"] == "function" and isinstance(named, dict) and set(named) == {"name"}:
                return f"={named['name']}"
        raise serializers.ValidationError(self.error_messages["invalid"])

    def to_representation(self, value: Any) -> Any:
        return value


class ToolMode(StrEnum):
    """FREE leaves the choice to the model; ONE writes arguments alone; ANY a name with them."""

    NONE = "none"
    FREE = "free"
    ONE = "one"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What is done about functions in one call. `tools` are those that the model is shown."""

    mode: ToolMode = ToolMode.NONE
    tools: tuple[dict[str, Any], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(tool["function"]["name"] for tool in self.tools)

    @property
    def grammar(self) -> Grammar | None:
        """What a forced call looks like; None where nothing is forced."""
        if self.mode is ToolMode.ONE:
            return Grammar(GrammarKind.JSON_SCHEMA, json.dumps(_parameters(self.tools[0])))
        if self.mode is ToolMode.ANY:
            return Grammar(GrammarKind.JSON_SCHEMA, json.dumps(_any_call(self.tools)))
        return None


def check_tools(attrs: dict[str, Any]) -> None:
    """Raises ValidationError for functions that contradict each other or the rest of the call."""
    tools = attrs.get("tools", [])
    choice = attrs.get("tool_choice")
    if choice not in (None, "none") and not tools:
        raise problem("tool_choice", "Needs tools.")
    if len(tools) > MAX_TOOLS:
        raise problem("tools", f"Has more than {MAX_TOOLS} functions.")
    names = [tool["function"]["name"] for tool in tools]
    if len(set(names)) < len(names):
        raise problem("tools", "Names one function twice.")
    if (complaint := _complaint(tools)) is not None:
        raise problem("tools", complaint)
    if choice is not None and choice.startswith("=") and choice[1:] not in names:
        raise problem("tool_choice", "Names no function of tools.")
    response_format = attrs.get("response_format") or {"type": "text"}
    if tools and choice != "none" and response_format["type"] != "text":
        raise problem("response_format", "Cannot be combined with tools: a call has its own form.")


def _complaint(tools: list[dict[str, Any]]) -> str | None:
    """What keeps definitions from being stored and shown as they are."""
    try:
        text = json.dumps(tools, ensure_ascii=False, allow_nan=False)
        text.encode()
    except ValueError:
        return "Must hold valid Unicode and finite numbers."
    if "\\u0000" in text:
        return "Must not hold the character NUL."
    if len(text) > MAX_GRAMMAR_CHARS:
        return f"Must have at most {MAX_GRAMMAR_CHARS} characters as JSON."
    return None


def tool_use_of(attrs: dict[str, Any], *, knows_tools: bool) -> ToolUse:
    """What checked `tools` and `tool_choice` mean for a model whose template `knows_tools`.

    Raises ValidationError where the model cannot do it.
    """
    tools = tuple(attrs.get("tools", ()))
    choice = attrs.get("tool_choice") or ("auto" if tools else "none")
    if choice == "none":
        return ToolUse()
    if choice.startswith("="):
        return ToolUse(ToolMode.ONE, tuple(t for t in tools if t["function"]["name"] == choice[1:]))
    if choice == "required":
        return ToolUse(ToolMode.ONE if len(tools) == 1 else ToolMode.ANY, tools)
    if not knows_tools:
        raise problem(
            "tool_choice",
            "This model's chat template knows no tools, so it cannot choose by itself: use "
            "required, none or a named function.",
        )
    for index, tool in enumerate(tools):
        if tool["function"].get("strict"):
            message = "Is kept only where the call is forced (tool_choice required or named)."
            raise problem("tools", message, (index, "function", "strict"))
    return ToolUse(ToolMode.FREE, tools)


def _parameters(tool: dict[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = tool["function"].get("parameters") or {}
    return parameters or {"type": "object", "properties": {}, "additionalProperties": False}


def _any_call(tools: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """A schema of one call of any of `tools`, whose own references still lead where they did."""
    definitions = {
        f"f{index}": _moved(_parameters(tool), f"#/$defs/f{index}")
        for index, tool in enumerate(tools)
    }
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool["function"]["name"]},
                "arguments": {"$ref": f"#/$defs/f{index}"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for index, tool in enumerate(tools)
    ]
    return {"anyOf": calls, "$defs": definitions}


def _moved(schema: Any, root: str) -> Any:
    """`schema` with its references to its own root led to `root`."""
    if isinstance(schema, list):
        return [_moved(item, root) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: root + value[1:]
        if key == "$ref" and isinstance(value, str) and value.startswith("#")
        else _moved(value, root)
        for key, value in schema.items()
    }
