"""What a plugin has made of a context: only what its hook may change is taken, and that is checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from plugins_app.base import (
    AdaptContext,
    ChunkContext,
    FinishedContext,
    Message,
    PromptContext,
    ResultContext,
)
from plugins_app.runners.base import FaultKind, PluginFaultError

C = TypeVar("C", AdaptContext, PromptContext, ChunkContext, ResultContext, FinishedContext)

_ROLES = {"system", "user", "assistant", "tool"}


def checked(before: C, after: Any, max_chars: int) -> C:
    """`before` with what the plugin has changed of it.

    Raises PluginFaultError: GARBAGE for what is no such context, TOO_LARGE over `max_chars`.
    """
    if type(after) is not type(before):
        raise _garbage(f"it returned a {type(after).__name__}")
    match after:
        case ChunkContext():
            _check_text(after.text, max_chars)
            if not isinstance(after.state, Mapping):
                raise _garbage("its state is no mapping")
            return replace(before, text=after.text, state=after.state)
        case ResultContext():
            _check_text(after.text, max_chars)
            return replace(before, text=after.text)
        case PromptContext():
            _check_words(before, after, max_chars)
            return replace(before, text=after.text, messages=after.messages)
        case AdaptContext():
            _check_words(before, after, max_chars)
            _check_manner(after, max_chars)
            return replace(
                before,
                text=after.text,
                messages=after.messages,
                chat_template=after.chat_template,
                stop=tuple(after.stop),
                defaults=dict(after.defaults),
            )
    return before  # nothing can be changed


def _check_words(
    before: PromptContext | AdaptContext, after: PromptContext | AdaptContext, max_chars: int
) -> None:
    """A text stays a text, a chat a chat."""
    if (before.text is None) != (after.text is None):
        raise _garbage("a text is there where none was, or is gone")
    if (before.messages is None) != (after.messages is None):
        raise _garbage("messages are there where none were, or are gone")
    if after.text is not None:
        _check_text(after.text, max_chars)
    if after.messages is not None:
        _check_messages(after.messages, max_chars)


def _check_messages(messages: Any, max_chars: int) -> None:
    if not isinstance(messages, tuple) or not messages:
        raise _garbage("messages must be a tuple with one at least")
    if not all(isinstance(message, Message) for message in messages):
        raise _garbage("messages holds what is no Message")
    for message in messages:
        if message.role not in _ROLES:
            raise _garbage(f"a message has the role {message.role!r:.40}")
    _check_texts((message.content for message in messages), max_chars)


def _check_manner(after: AdaptContext, max_chars: int) -> None:
    if after.chat_template is not None:
        _check_text(after.chat_template, max_chars)
    if not isinstance(after.stop, list | tuple):
        raise _garbage("stop is no list of strings")
    _check_texts(after.stop, max_chars)
    if not isinstance(after.defaults, Mapping):
        raise _garbage("defaults is no mapping")


def _check_texts(texts: Iterable[Any], max_chars: int) -> None:
    left = max_chars
    for text in texts:
        _check_text(text, left)
        left -= len(text)


def _check_text(text: Any, max_chars: int) -> None:
    if not isinstance(text, str):
        raise _garbage(f"a {type(text).__name__} stands where a text belongs")
    if len(text) > max_chars:
        raise PluginFaultError(FaultKind.TOO_LARGE, "it returned more text than it may")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:  # half of a pair of surrogates: no UTF-8 can hold it
            raise _garbage("its text is not valid Unicode") from error


def _garbage(message: str) -> PluginFaultError:
    return PluginFaultError(FaultKind.GARBAGE, message)
