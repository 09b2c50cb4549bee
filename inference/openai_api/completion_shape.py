"""What plain completions look like, whole and in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inference.openai_api.shape import Shape
from inference.openai_api.submission import Submitted
from inference.protocol import Choice, DoneEvent, PromptLogprobs, TokenLogprob


@dataclass(frozen=True, slots=True)
class Echo:
    """What `echo` repeats of a prompt; `first_token` is the text of a token that nothing foresees."""

    text: str
    first_token: str = ""


class CompletionShape(Shape):
    id_prefix = "cmpl"
    object = chunk_object = "text_completion"

    def __init__(
        self, model: str, echoes: Sequence[Echo], num_choices: int, *, include_usage: bool
    ) -> None:
        """`echoes` are what stands before the answers, by prompt; empty where not asked for."""
        super().__init__(model, include_usage=include_usage)
        self._echoes = echoes
        self._scores: list[PromptLogprobs | None] = []
        self._n = num_choices
        self._offsets: dict[int, int] = {}

    def body(self, submitted: Submitted, ended: Sequence[DoneEvent]) -> dict[str, Any]:
        self._scores = [done.prompt_logprobs for done in ended]
        return super().body(submitted, ended)

    def opening(self, index: int) -> list[dict[str, Any]]:
        echo = self._echo(index)
        return [_choice(index, echo)] if echo else []

    def pieces(
        self, index: int, text: str, logprobs: tuple[TokenLogprob, ...]
    ) -> list[dict[str, Any]]:
        choice = _choice(index, text)
        if logprobs:
            offset = self._offsets.get(index, 0)
            choice["logprobs"] = _logprobs(logprobs, offset)
            self._offsets[index] = offset + sum(len(item.token) for item in logprobs)
        return [choice]

    def ending(self, index: int, choice: Choice) -> list[dict[str, Any]]:
        return [{**_choice(index, ""), "finish_reason": str(choice.finish_reason)}]

    def whole(self, index: int, choice: Choice) -> dict[str, Any]:
        return {
            "index": index,
            "text": self._echo(index) + choice.text,
            "logprobs": self._whole_logprobs(index, choice),
            "finish_reason": str(choice.finish_reason),
        }

    def _echo(self, index: int) -> str:
        return self._echoes[index // self._n].text if self._echoes else ""

    def _whole_logprobs(self, index: int, choice: Choice) -> dict[str, Any] | None:
        if choice.logprobs is None:
            return None
        number = index // self._n
        scores = self._scores[number] if self._scores else None
        if scores is None:
            return _logprobs(choice.logprobs, 0)
        echo = self._echoes[number]
        # A token that begins every text has none of its own.
        width = len(echo.first_token) if echo.text.startswith(echo.first_token) else 0
        rest = _logprobs((*(item for item in scores if item), *choice.logprobs), width)
        first = {"tokens": echo.first_token, "token_logprobs": None, "top_logprobs": None}
        return {name: [{**first, "text_offset": 0}[name], *values] for name, values in rest.items()}


def _choice(index: int, text: str) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": None}


def _logprobs(items: tuple[TokenLogprob, ...], offset: int) -> dict[str, Any]:
    offsets = []
    for item in items:
        offsets.append(offset)
        offset += len(item.token)
    return {
        "tokens": [item.token for item in items],
        "token_logprobs": [item.logprob for item in items],
        # The token that was chosen is among them in any case.
        "top_logprobs": [{item.token: item.logprob} | dict(item.top) for item in items],
        "text_offset": offsets,
    }
