"""What `plugin check` calls a plugin with: contexts as requests bring them, odd ones among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from plugins_app.base import (
    AdaptContext,
    ChunkContext,
    Context,
    FinishedContext,
    Hook,
    Message,
    PromptContext,
    ResultContext,
)

#: An answer with what filters look for: names, numbers, code, JSON, letters beyond ASCII.
ANSWER = (
    'Hello llama! Ada wrote to ada@example.org on 2024-05-01.\n\n```json\n{"a": [1, 2]}\n```\n'
    "Gr\u00fc\u00dfe, \u65e5\u672c\u8a9e \U0001f469\u200d\U0001f469. "
    "The password is secret, call +49 30 901820.  \n"
)
_TEXTS = ("Hello", "", ANSWER, "\u0000\t\r\n", "word " * 2000)
_CHATS = (
    (Message("user", "Hello"),),
    (
        Message("system", "Be brief."),
        Message("user", ANSWER),
        Message("assistant", ""),
        Message("tool", "{}"),
    ),
)
_ID, _MODEL, _ROLE = "check", "any-model", "operator"


def cases(hook: Hook) -> Iterator[Context]:
    """Contexts of one hook."""
    match hook:
        case Hook.ADAPT:
            yield from _adapts()
        case Hook.PROMPT:
            yield from (PromptContext(_ID, _MODEL, text, None, _ROLE) for text in _TEXTS)
            yield from (PromptContext(_ID, _MODEL, None, chat, _ROLE) for chat in _CHATS)
        case Hook.CHUNK:
            for index, text in enumerate(_TEXTS):
                yield ChunkContext(_ID, _MODEL, index, text, is_last=True, role=_ROLE)
        case Hook.RESULT:
            for index, text in enumerate(_TEXTS):
                yield ResultContext(_ID, _MODEL, text, index, "stop", _ROLE)
        case Hook.FINISHED:
            yield from _ends()


def _adapts() -> Iterator[Context]:
    first = AdaptContext(_ID, _MODEL, "LlamaForCausalLM", "cpu", _ROLE, "Hello", None)
    yield first
    yield replace(first, text=None, messages=_CHATS[1], given=("temperature", "stop"))
    yield replace(first, backend="remote", architecture="remote", stop=("END",))
    yield replace(first, text=None)  # token ids


def _ends() -> Iterator[Context]:
    good = FinishedContext(_ID, _MODEL, _ROLE, "stop", "", 12, 34, 8, 0.01, 0.2, 1.5, ("check",))
    yield good
    yield replace(good, finish_reason="", error_code="DEADLINE_EXCEEDED", completion_tokens=0)
    yield replace(good, queue_time=None, ttft=None, plugins=())
