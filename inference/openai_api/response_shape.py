"""What `/v1/responses` answers: one body, or the events by which a client builds it up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inference.openai_api.events import SentAnswer
from inference.openai_api.shape import Answer, Writer
from inference.openai_api.submission import Submitted
from inference.openai_api.tool_fields import ToolUse
from inference.openai_api.tool_parsing import Piece, PieceReader, repeated_call_ids
from inference.protocol import (
    DoneEvent,
    ErrorEvent,
    FinishReason,
    GenerationJob,
    RestartEvent,
    StreamEvent,
    TokenEvent,
    ToolCall,
    Usage,
)
from llamagpu.http.errors import AppError
from llamagpu.http.openai_errors import openai_error


class ResponseAnswer(Answer):
    prompt_field = "input"

    def __init__(self, settings: dict[str, Any], use: ToolUse) -> None:
        """`settings` are the fields of the call that its answer repeats."""
        self.settings = settings
        self.use = use

    def body(self, submitted: Submitted, ended: Sequence[DoneEvent]) -> dict[str, Any]:
        (done,) = ended
        items = ItemBuilder(self.use, _hex_of(submitted.jobs[0]))
        items.feed(done.text)
        items.finish()
        return self.response(submitted, [item.whole() for item in items.items], done)

    def writer(self, submitted: Submitted) -> Writer:
        return _EventWriter(submitted, self)

    def response(
        self, submitted: Submitted, output: list[dict[str, Any]], done: DoneEvent | None
    ) -> dict[str, Any]:
        """The answer as far as it is there; `done` is None while it is being made."""
        job = submitted.jobs[0]
        is_cut = done is not None and done.finish_reason is FinishReason.LENGTH
        status = "in_progress" if done is None else "incomplete" if is_cut else "completed"
        return {
            "id": f"resp_{_hex_of(job)}",
            "object": "response",
            "created_at": int(job.created_unix),
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "output": output,
            "usage": None if done is None else _usage_fields(done.usage),
            "store": False,
            "previous_response_id": None,
            "parallel_tool_calls": True,
            "truncation": "disabled",
            "metadata": {},
            **self.settings,
        }


@dataclass(slots=True)
class Item:
    """One item of the output: a message, or a call where `name` is set."""

    id: str
    index: int
    text: str = ""
    name: str = ""
    call_id: str = ""

    def whole(self, status: str = "completed") -> dict[str, Any]:
        if self.name:
            return {
                "type": "function_call",
                "id": self.id,
                "call_id": self.call_id,
                "name": self.name,
                "arguments": self.text,
                "status": status,
            }
        content = [self.part()] if status == "completed" else []
        return {
            "type": "message",
            "id": self.id,
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def part(self) -> dict[str, Any]:
        return {"type": "output_text", "text": self.text, "annotations": []}


class ItemBuilder:
    """Gathers the pieces of an answer into items."""

    def __init__(self, use: ToolUse, seed: str) -> None:
        """Ids of items and calls follow from `seed`: an answer has the same ones whenever it is told."""
        self._seed = seed
        self._reader = PieceReader(use, repeated_call_ids(seed))
        self.items: list[Item] = []

    def feed(self, text: str) -> list[tuple[Item, str]]:
        """(item, what was added to it), in order; an item that is new has nothing before it."""
        return [self._add(piece) for piece in self._reader.feed(text)]

    def finish(self) -> list[tuple[Item, str]]:
        added = [self._add(piece) for piece in self._reader.finish()]
        if not self.items:
            added.append(self._add(""))  # an answer has a message, be it empty
        return added

    def _add(self, piece: Piece) -> tuple[Item, str]:
        last = self.items[-1] if self.items else None
        if isinstance(piece, ToolCall):
            if last is None or last.call_id != piece.id:
                last = self._open("fc", name=piece.name, call_id=piece.id)
            text = piece.arguments
        else:
            if last is None or last.name:
                last = self._open("msg")
            text = piece
        last.text += text
        return last, text

    def _open(self, kind: str, **fields: str) -> Item:
        number = len(self.items)
        item = Item(f"{kind}_{self._seed}{number:04x}", number, **fields)
        self.items.append(item)
        return item


class _EventWriter:
    def __init__(self, submitted: Submitted, answer: ResponseAnswer) -> None:
        self._submitted = submitted
        self._answer = answer
        self._items = ItemBuilder(answer.use, _hex_of(submitted.jobs[0]))
        self._sent = SentAnswer()
        self._number = 0
        self._open: Item | None = None
        self._output: list[dict[str, Any]] = []
        self._done: DoneEvent | None = None

    def frames_of(self, job: int, event: StreamEvent) -> list[str]:
        """Raises AppError where the stream must break off."""
        match event:
            case TokenEvent():
                text, _ = self._sent.news_in(event.text, ())
                return self._begin() + self._tell(self._items.feed(text))
            case RestartEvent():
                self._sent.restart()
                return []
            case ErrorEvent():
                raise self._answer.error_of(event)
            case DoneEvent():
                self._done = event
                rest = self._sent.rest_of(event.text)
                added = [*self._items.feed(rest), *self._items.finish()]
                return self._begin() + self._tell(added) + self._close()

    def end(self) -> list[str]:
        response = self._answer.response(self._submitted, self._output, self._done)
        return [self._event(f"response.{response['status']}", response=response)]

    def break_off(self, error: AppError) -> list[str]:
        said = openai_error(error)["error"]
        fields = {name: said[name] for name in ("code", "message", "param")}
        return [self._event("error", **fields)]

    def _begin(self) -> list[str]:
        if self._number:
            return []
        response = self._answer.response(self._submitted, [], None)
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
        ]

    def _tell(self, added: list[tuple[Item, str]]) -> list[str]:
        frames = []
        for item, text in added:
            if item is not self._open:
                frames += [*self._close(), *self._open_item(item)]
            kind = "function_call_arguments" if item.name else "output_text"
            logprobs: dict[str, Any] = {} if item.name else {"logprobs": []}
            if text:
                place = _place(item) | logprobs
                frames.append(self._event(f"response.{kind}.delta", **place, delta=text))
        return frames

    def _open_item(self, item: Item) -> list[str]:
        self._open = item
        empty = Item(item.id, item.index, name=item.name, call_id=item.call_id)
        frames = [
            self._event(
                "response.output_item.added",
                output_index=item.index,
                item=empty.whole("in_progress"),
            )
        ]
        if not item.name:
            part = empty.part()
            frames.append(self._event("response.content_part.added", **_place(item), part=part))
        return frames

    def _close(self) -> list[str]:
        item, self._open = self._open, None
        if item is None:
            return []
        if item.name:
            done = {**_place(item), "name": item.name, "arguments": item.text}
            frames = [self._event("response.function_call_arguments.done", **done)]
        else:
            place = _place(item)
            frames = [
                self._event("response.output_text.done", **place, text=item.text, logprobs=[]),
                self._event("response.content_part.done", **place, part=item.part()),
            ]
        whole = item.whole()
        self._output.append(whole)
        event = self._event("response.output_item.done", output_index=item.index, item=whole)
        return [*frames, event]

    def _event(self, kind: str, /, **fields: Any) -> str:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _hex_of(job: GenerationJob) -> str:
    return job.job_id.replace("-", "")


def _place(item: Item) -> dict[str, Any]:
    place: dict[str, Any] = {"item_id": item.id, "output_index": item.index}
    return place if item.name else {**place, "content_index": 0}


def _usage_fields(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }
