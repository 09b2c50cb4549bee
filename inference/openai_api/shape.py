"""What answers look like: the parts that chat and plain completions have in common."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

from inference.openai_api.events import SentAnswers, choices_of, sum_of
from inference.openai_api.submission import Submitted, about
from inference.protocol import (
    Choice,
    DoneEvent,
    ErrorEvent,
    RestartEvent,
    StreamEvent,
    TokenEvent,
    TokenLogprob,
    Usage,
)
from llamagpu.http.errors import AppError
from llamagpu.http.openai_errors import openai_error
from llamagpu.lib.error_codes import ErrorCode


class Writer(Protocol):
    """Turns the events of a call's jobs into frames of Server-Sent Events."""

    def frames_of(self, job: int, event: StreamEvent) -> list[str]:
        """Raises AppError where the stream must break off."""

    def end(self) -> list[str]:
        """The frames behind the last event's."""

    def break_off(self, error: AppError) -> list[str]:
        """The frames that say why nothing more comes."""


class Answer(ABC):
    """What is made of the events of a call's jobs."""

    #: The field of the body that holds the prompts.
    prompt_field = "prompt"

    @abstractmethod
    def body(self, submitted: Submitted, ended: Sequence[DoneEvent]) -> dict[str, Any]:
        """The whole answer; `ended` are the ends of the jobs, in their order."""

    @abstractmethod
    def writer(self, submitted: Submitted) -> Writer: ...

    def error_of(self, event: ErrorEvent) -> AppError:
        """What the caller is told of a job's failure."""
        error = AppError(event.code, event.message)
        is_too_long = event.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
        return about(self.prompt_field, error) if is_too_long else error


class Shape(Answer):
    """What the answers of completions look like. `index` counts over all answers of the call."""

    id_prefix: str
    object: str
    chunk_object: str

    #: The ids of an answer's parts follow from it: they are the same whenever it is told.
    seed = ""

    def __init__(self, model: str, *, include_usage: bool) -> None:
        self.model = model
        self.include_usage = include_usage

    def opening(self, index: int) -> list[dict[str, Any]]:
        """Choices of the chunks before an answer's first text."""
        return []

    @abstractmethod
    def pieces(
        self, index: int, text: str, logprobs: tuple[TokenLogprob, ...]
    ) -> list[dict[str, Any]]:
        """Choices of the chunks that carry newly made text."""

    @abstractmethod
    def ending(self, index: int, choice: Choice) -> list[dict[str, Any]]:
        """Choices of an answer's last chunks."""

    @abstractmethod
    def whole(self, index: int, choice: Choice) -> dict[str, Any]:
        """One answer in one piece."""

    def body(self, submitted: Submitted, ended: Sequence[DoneEvent]) -> dict[str, Any]:
        n, self.seed = submitted.jobs[0].params.n, submitted.jobs[0].job_id
        choices = [
            self.whole(number * n + choice.index, choice)
            for number, done in enumerate(ended)
            for choice in choices_of(done)
        ]
        usage = usage_fields(sum_of([done.usage for done in ended]))
        return {**_head(submitted, self, self.object), "choices": choices, "usage": usage}

    def writer(self, submitted: Submitted) -> Writer:
        return _ChunkWriter(submitted, self)


class _ChunkWriter:
    """Turns the events of a call's jobs into frames."""

    def __init__(self, submitted: Submitted, shape: Shape) -> None:
        self._shape = shape
        self._n = submitted.jobs[0].params.n
        shape.seed = submitted.jobs[0].job_id
        self._head = _head(submitted, shape, shape.chunk_object)
        self._sent = SentAnswers()
        self._opened: set[int] = set()
        self._usages: list[Usage] = []

    def frames_of(self, job: int, event: StreamEvent) -> list[str]:
        """Raises AppError where the stream must break off."""
        match event:
            case TokenEvent():
                answer = self._sent.of(job, event.index)
                index = job * self._n + event.index
                text, logprobs = answer.news_in(event.text, event.logprobs)
                choices = self._open(index)
                if text or logprobs:
                    choices += self._shape.pieces(index, text, logprobs)
                return self._chunks(choices)
            case RestartEvent():
                self._sent.restart(job)
                return []
            case ErrorEvent():
                raise self._shape.error_of(event)
            case DoneEvent():
                self._usages.append(event.usage)
                return [
                    part
                    for choice in choices_of(event)
                    for part in self._chunks(self._close(job, choice))
                ]

    def end(self) -> list[str]:
        """The frames behind the last answer's."""
        frames = []
        if self._shape.include_usage:
            usage = usage_fields(sum_of(self._usages))
            frames.append(frame({**self._head, "choices": [], "usage": usage}))
        return [*frames, "data: [DONE]\n\n"]

    def _open(self, index: int) -> list[dict[str, Any]]:
        if index in self._opened:
            return []
        self._opened.add(index)
        return self._shape.opening(index)

    def _close(self, job: int, choice: Choice) -> list[dict[str, Any]]:
        index = job * self._n + choice.index
        choices = self._open(index)
        answer = self._sent.of(job, choice.index)
        rest = answer.rest_of(choice.text)
        # An answer that comes as a whole, from its row, has said none of its log probabilities.
        logprobs = () if answer.num_logprobs else choice.logprobs or ()
        if rest or logprobs:
            choices += self._shape.pieces(index, rest, logprobs)
        return choices + self._shape.ending(index, choice)

    def _chunks(self, choices: list[dict[str, Any]]) -> list[str]:
        more = {"usage": None} if self._shape.include_usage else {}
        return [frame({**self._head, "choices": [choice], **more}) for choice in choices]

    def break_off(self, error: AppError) -> list[str]:
        return [frame(openai_error(error))]


def usage_fields(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _head(submitted: Submitted, shape: Shape, kind: str) -> dict[str, Any]:
    job = submitted.jobs[0]
    return {
        "id": f"{shape.id_prefix}-{job.job_id.replace('-', '')}",
        "object": kind,
        "created": int(job.created_unix),
        "model": shape.model,
        "system_fingerprint": submitted.fingerprint or None,
    }


def frame(body: dict[str, Any]) -> str:
    """One event of a stream."""
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
