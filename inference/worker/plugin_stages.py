"""Stages 4/7 and 6/7 of one job: everything that plugins have to do with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from inference.protocol import (
    Delta,
    DoneEvent,
    ErrorEvent,
    Finished,
    GenerationJob,
    Loaded,
    TokenEvent,
)
from inference.services.settlement import Course
from inference.worker.plugin_answers import Answers, ReadAnswer
from inference.worker.plugin_prompts import ReadRequest, read_request
from plugins_app.base import FinishedContext, Hook
from plugins_app.pipeline import Chain, PluginLink


class PluginStages:
    """The plugins of a job, from its first attempt to its end. For the job's thread."""

    def __init__(self, links: Sequence[PluginLink], job: GenerationJob) -> None:
        self._job = job
        self._chain = Chain.of(links, job.model, job.role)
        self._request: ReadRequest | None = None
        self._answers = Answers(self._chain, job)

    @property
    def needs_engine(self) -> bool:
        """Whether a plugin must know how the model runs before the prompt is read."""
        return self._chain.has(Hook.ADAPT)

    @property
    def reads_pieces(self) -> bool:
        """Whether a plugin has to do with an answer while it is written, and may take its time."""
        return not self._answers.is_plain

    @property
    def has_observers(self) -> bool:
        return self._chain.has(Hook.FINISHED)

    @property
    def after(self) -> tuple[str, ...]:
        """Those that acted on the answer of this attempt."""
        return self._answers.acted

    def read_request(self, info: Loaded | None) -> ReadRequest:
        """Once for all attempts, which then answer the same. Raises PluginStopError."""
        if self._request is None:
            self._request = read_request(self._chain, self._job, info)
        return self._request

    def begin_attempt(self) -> None:
        """Nothing of an attempt before goes into the next one's answers."""
        self._answers = Answers(self._chain, self._job)

    def pass_on(self, delta: Delta) -> TokenEvent:
        """Raises PluginStopError."""
        return self._answers.pass_on(delta)

    def read_answer(self, finished: Finished) -> ReadAnswer:
        """Raises PluginStopError."""
        answer = self._answers.end(finished)
        if self._request is not None and self._request.prompt != self._job.prompt:
            # They would spell what plugins have put in.
            return replace(answer, prompt_logprobs=None)
        return answer

    def observation(self, event: DoneEvent | ErrorEvent, course: Course) -> FinishedContext:
        """What observers are told of the job's end."""
        return FinishedContext(
            request_id=self._job.request_id,
            model=self._job.model,
            role=self._job.role,
            finish_reason=str(event.finish_reason) if isinstance(event, DoneEvent) else "",
            error_code="" if isinstance(event, DoneEvent) else str(event.code),
            prompt_tokens=event.usage.prompt_tokens,
            completion_tokens=event.usage.completion_tokens,
            cached_tokens=event.usage.cached_tokens,
            queue_time=course.queue_time,
            ttft=course.ttft,
            duration=max(0.0, time.time() - self._job.created_unix),
            plugins=(*course.plugins_before, *course.plugins_after),
        )
