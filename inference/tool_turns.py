"""Functions in a conversation for models whose chat template knows none: told as plain text.

A template without `tools` would leave the definitions out, and one that knows four roles refuses a
fifth. So definitions go in front of what the model reads first, calls are written as the JSON that
the model would have made, and results come from the user.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from inference.conversation import ChatMessage, ToolCall

_INTRODUCTION = "These functions can be called. A call is a JSON object."


def tell_plainly(
    messages: Iterable[ChatMessage], tools: Sequence[dict[str, Any]]
) -> list[ChatMessage]:
    """The same conversation in the roles system, user and assistant alone."""
    turns: list[ChatMessage] = []
    names: dict[str, str] = {}
    for message in messages:
        names |= {call.id: call.name for call in message.tool_calls}
        if message.tool_calls:
            lines = [message.content] if message.content else []
            lines += [_call_text(call) for call in message.tool_calls]
            turns.append(ChatMessage("assistant", "\n".join(lines)))
        elif message.role == "tool":
            name = message.name or names.get(message.tool_call_id, "the function")
            _add_result(turns, f"Result of {name}: {message.content}")
        else:
            turns.append(message)
    return _introduce(turns, tools) if tools else turns


def arguments_of(call: ToolCall) -> Any:
    """The arguments as templates expect them: an object where they are one, else their text."""
    try:
        value = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return call.arguments
    return value if isinstance(value, dict) else call.arguments


def _call_text(call: ToolCall) -> str:
    return json.dumps({"name": call.name, "arguments": arguments_of(call)}, ensure_ascii=False)


def _add_result(turns: list[ChatMessage], text: str) -> None:
    """Results that follow each other are one turn: many templates want turns to alternate."""
    if turns and turns[-1].role == "user" and turns[-1].content.startswith("Result of "):
        turns[-1] = replace(turns[-1], content=f"{turns[-1].content}\n{text}")
    else:
        turns.append(ChatMessage("user", text))


def _introduce(turns: list[ChatMessage], tools: Sequence[dict[str, Any]]) -> list[ChatMessage]:
    """Behind the system's words where there are any, else before the first turn's."""
    lines = [_INTRODUCTION, *(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)]
    text = "\n".join(lines)
    if not turns:
        return turns
    first = turns[0]
    parts = (first.content, text) if first.role == "system" else (text, first.content)
    return [replace(first, content="\n\n".join(parts)), *turns[1:]]
