"""What plain completions look like, whole and in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference.openai_api.shape import Shape
from inference.protocol import Choice, TokenLogprob


class CompletionShape(Shape):
    id_prefix = "cmpl"
    object = chunk_object = "text_completion"

    def __init__(
        self, model: str, echoes: Sequence[str], num_choices: int, *, include_usage: bool
    ) -> None:
        """`echoes` are the prompts' texts that stand before the answers; empty where not asked for."""
        super().__init__(model, include_usage=include_usage)
        self._echoes = echoes
        self._n = num_choices
        self._offsets: dict[int, int] = {}

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
            "logprobs": None if choice.logprobs is None else _logprobs(choice.logprobs, 0),
            "finish_reason": str(choice.finish_reason),
        }

    def _echo(self, index: int) -> str:
        return self._echoes[index // self._n] if self._echoes else ""


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
        "top_logprobs": [dict(item.top) for item in items],
        "text_offset": offsets,
    }
