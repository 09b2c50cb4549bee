"""The stream filters of one answer: pieces go in as they come, pieces go out, in order.

A filter may hold text back and give it out later; the last piece flushes. What comes out, put together,
is the answer that every caller reads, streamed or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from plugins_app.base import ChunkContext, Hook
from plugins_app.pipeline import PluginLink, call_link


class AnswerFilter:
    """For the answer `index` of one attempt of a request. Not for several threads."""

    def __init__(
        self,
        links: Sequence[PluginLink],
        *,
        request_id: str,
        model: str,
        role: str = "",
        index: int = 0,
    ) -> None:
        first = ChunkContext(request_id=request_id, model=model, index=index, text="", role=role)
        self._stages = [_Stage(link, first) for link in links]

    @property
    def acted(self) -> list[str]:
        """Those that have changed something, as far as is known."""
        return [stage.link.spec.slug for stage in self._stages if stage.has_acted]

    def push(self, text: str, *, is_last: bool = False) -> str:
        """What may go out now that `text` has come. Raises PluginStopError."""
        for stage in self._stages:
            if text or is_last:
                text = stage.push(text, is_last)
        return text


@dataclass(slots=True)
class _Stage:
    """One filter and its state. `held` is what it has not given out yet; None: nobody can tell."""

    link: PluginLink
    first: ChunkContext
    state: dict[str, Any] = field(default_factory=dict)
    held: str | None = ""
    has_acted: bool = False
    is_out: bool = False

    def push(self, text: str, is_last: bool) -> str:
        if self.is_out:
            return text
        first = self.first
        context = ChunkContext(
            request_id=first.request_id,
            model=first.model,
            index=first.index,
            text=text,
            is_last=is_last,
            state=self.state,
            role=first.role,
        )
        outcome = call_link(self.link, Hook.CHUNK, context)
        if outcome is None:
            # Called again it would give out old text behind new: it is left out from here on.
            self.is_out = True
            return (self.held or "") + text
        self.state = dict(outcome.state)
        self._note(text, outcome.text, is_last)
        return outcome.text

    def _note(self, came: str, went: str, is_last: bool) -> None:
        """Keep account of what is held, as long as nothing but holding back has happened."""
        if self.held is not None:
            due = self.held + came
            if due.startswith(went):
                self.held = due[len(went) :]
            else:
                self.held, self.has_acted = None, True
        if is_last or not self.state:  # nothing can be held
            self.has_acted = self.has_acted or bool(self.held)
            self.held = ""
