"""What chat completions look like, whole and in chunks."""

from __future__ import annotations

import re
from typing import Any

from inference.openai_api.shape import Shape
from inference.openai_api.tool_fields import ToolUse
from inference.openai_api.tool_parsing import Piece, PieceReader, repeated_call_ids
from inference.protocol import Choice, ErrorEvent, FinishReason, TokenLogprob, ToolCall
from llamagpu.http.errors import AppError


class ChatShape(Shape):
    prompt_field = "messages"
    id_prefix = "chatcmpl"
    object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(self, model: str, use: ToolUse, *, include_usage: bool) -> None:
        super().__init__(model, include_usage=include_usage)
        self._use = use
        self._readers: dict[int, PieceReader] = {}
        self._call_numbers: dict[int, dict[str, int]] = {}

    def opening(self, index: int) -> list[dict[str, Any]]:
        self._readers[index] = self._reader(index)
        self._call_numbers[index] = {}
        return [_delta(index, {"role": "assistant", "content": ""})]

    def pieces(
        self, index: int, text: str, logprobs: tuple[TokenLogprob, ...]
    ) -> list[dict[str, Any]]:
        deltas = self._deltas(index, self._readers[index].feed(text))
        if logprobs:
            deltas = deltas or [_delta(index, {})]
            deltas[0]["logprobs"] = logprob_fields(logprobs)
        return deltas

    def ending(self, index: int, choice: Choice) -> list[dict[str, Any]]:
        reader = self._readers[index]
        deltas = self._deltas(index, reader.finish())
        last = _delta(index, {})
        last["finish_reason"] = _finish_reason(choice.finish_reason, reader.num_calls)
        return [*deltas, last]

    def error_of(self, event: ErrorEvent) -> AppError:
        """A function's schema that cannot be followed came from `tools`, whatever the engine calls it."""
        error = super().error_of(event)
        if self._use.grammar is None:
            return error
        return AppError(error.code, re.sub(r"\Aresponse_format: ", "tools: ", error.message))

    def whole(self, index: int, choice: Choice) -> dict[str, Any]:
        reader = self._reader(index)
        pieces = [*reader.feed(choice.text), *reader.finish()]
        text = "".join(piece for piece in pieces if isinstance(piece, str))
        calls = [piece for piece in pieces if isinstance(piece, ToolCall)]
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if calls:
            message["content"] = text or None
            message["tool_calls"] = [_call_fields(call) for call in calls]
        return {
            "index": index,
            "message": message,
            "logprobs": None if choice.logprobs is None else logprob_fields(choice.logprobs),
            "finish_reason": _finish_reason(choice.finish_reason, len(calls)),
        }

    def _reader(self, index: int) -> PieceReader:
        return PieceReader(self._use, repeated_call_ids(f"{self.seed} {index}"))

    def _deltas(self, index: int, pieces: list[Piece]) -> list[dict[str, Any]]:
        deltas = []
        for piece in pieces:
            if isinstance(piece, str):
                deltas.append(_delta(index, {"content": piece}))
                continue
            numbers = self._call_numbers[index]
            is_new = piece.id not in numbers
            number = numbers.setdefault(piece.id, len(numbers))
            fields: dict[str, Any] = (
                _call_fields(piece) if is_new else {"function": {"arguments": piece.arguments}}
            )
            deltas.append(_delta(index, {"tool_calls": [{"index": number, **fields}]}))
        return deltas


def logprob_fields(items: tuple[TokenLogprob, ...]) -> dict[str, Any]:
    return {
        "content": [
            {
                **_logprob(item.token, item.logprob),
                "top_logprobs": [_logprob(token, value) for token, value in item.top],
            }
            for item in items
        ]
    }


def _logprob(token: str, value: float) -> dict[str, Any]:
    # A token of a part of a character has no text of its own, and its bytes are not known here.
    encoded = None if "\ufffd" in token else list(token.encode())
    return {"token": token, "logprob": value, "bytes": encoded}


def _call_fields(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _delta(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def _finish_reason(reason: FinishReason, num_calls: int) -> str:
    return "tool_calls" if num_calls and reason is FinishReason.STOP else str(reason)
