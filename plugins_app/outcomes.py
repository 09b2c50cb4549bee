"""What is taken of the context that a plugin returned: what its hook may change, and that is sound.

Runners have checked the types already. No Django.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plugins_app.base import AdaptContext, ChunkContext, Context, PromptContext, ResultContext
from plugins_app.runners.base import FaultKind, PluginFaultError

_ROLES = {"system", "user", "assistant", "tool"}


def kept(before: Context, after: Context) -> Context:
    """`before` with what the plugin may have changed of it. Raises PluginFaultError GARBAGE."""
    if after is before:
        return before
    match after:
        case ChunkContext():
            return _changed(before, text=after.text, state=after.state)
        case ResultContext():
            return _changed(before, text=after.text)
        case PromptContext():
            _check_words(before, after)
            return _changed(before, text=after.text, messages=after.messages)
        case AdaptContext():
            _check_words(before, after)
            return _changed(
                before,
                text=after.text,
                messages=after.messages,
                chat_template=after.chat_template,
                stop=after.stop,
                defaults=after.defaults,
            )
    return before


def _changed(before: Any, **fields: Any) -> Any:
    return replace(before, **fields)


def _check_words(before: Any, after: PromptContext | AdaptContext) -> None:
    """A text stays a text, a chat a chat."""
    if (before.text is None) != (after.text is None):
        raise _garbage("a text is there where none was, or is gone")
    if (before.messages is None) != (after.messages is None):
        raise _garbage("messages are there where none were, or are gone")
    if after.messages is None:
        return
    if not after.messages:
        raise _garbage("no message is left")
    for message in after.messages:
        if message.role not in _ROLES:
            raise _garbage(f"a message has the role {message.role!r:.40}")


def _garbage(message: str) -> PluginFaultError:
    return PluginFaultError(FaultKind.GARBAGE, message)
