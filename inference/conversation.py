"""What a model reads: a part of the words in `inference.protocol`, stdlib only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function that a model has made; `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a conversation.

    `tool_calls` are those of an assistant's turn; `tool_call_id` names the one that a tool's turn
    answers; `name` is the participant's.
    """

    role: str
    content: str
    name: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads: exactly one of the three forms is set.

    `text` and `messages` go through the model's chat template (a text is one user turn; a model
    without a template reads the text as it is, any model does so where it `is_raw`); `token_ids` are
    taken as they are. `tools` are function definitions in OpenAI's form, for templates that show them.
    `chat_template` is Jinja, in place of the model's own.
    `inputs` stand alone: texts or token ids of which vectors are wanted, and no answer.
    """

    text: str | None = None
    messages: tuple[ChatMessage, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    is_raw: bool = False
    tools: tuple[dict[str, Any], ...] = ()
    inputs: tuple[Prompt, ...] = ()
    chat_template: str | None = None
