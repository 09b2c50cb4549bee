"""Stages 4 to 6 of a job as spans with GenAI attributes. Nothing where tracing is off."""

from __future__ import annotations

import json
import time

from inference.protocol import DoneEvent, ErrorEvent, GenerationJob
from inference.wire import to_builtins
from llamagpu.lib import tracing

_MOST_CONTENT = 20_000


class JobTrace:
    """One job in this worker: its wait, what plugins took, and one span of the model an attempt."""

    def __init__(self, job: GenerationJob) -> None:
        self._job = job
        self._accepted_at = time.time()
        self._prepared_at = self._accepted_at
        self._job_span: tracing.Span | None = None
        self._model_span: tracing.Span | None = None

    def begin_attempt(self) -> None:
        tracer = tracing.tracer()
        if tracer is None:
            return
        self._end_model("engine died")
        if self._job_span is None:
            job = self._job
            attributes = {"llamagpu.job.id": job.job_id, "llamagpu.request.id": job.request_id}
            self._job_span = tracer.begin(
                "job", parent=job.traceparent, attributes=attributes, at=self._accepted_at
            )
            waited_from = min(job.created_unix, self._accepted_at)
            tracing.record("queue", waited_from, self._accepted_at, self._job_span.traceparent)
        self._prepared_at = time.time()

    def begin_model(self) -> str:
        """Plugins and loading are over: the trace that the engine goes on with."""
        tracer = tracing.tracer()
        if tracer is None or self._job_span is None:
            return ""
        parent = self._job_span.traceparent
        tracing.record("plugins, before, and loading", self._prepared_at, time.time(), parent)
        attributes = _request_attributes(self._job)
        name = f"{attributes['gen_ai.operation.name']} {self._job.model}"
        self._model_span = tracer.begin(name, parent=parent, attributes=attributes)
        return self._model_span.traceparent

    def end(self, event: DoneEvent | ErrorEvent) -> None:
        """The job's last event, which a reader gets next."""
        if self._job_span is None:
            return
        is_failed = isinstance(event, ErrorEvent)
        error = event.code.value if isinstance(event, ErrorEvent) else ""
        attributes = {} if is_failed else _answer_attributes(event, self._job)
        self._end_model(error, attributes)
        now = time.time()
        tracing.record("plugins, after, and stream", now, now, self._job_span.traceparent)
        self._job_span.end(error=error)
        self._job_span = None

    def _end_model(self, error: str, attributes: tracing.Attributes | None = None) -> None:
        if self._model_span is not None:
            self._model_span.end(attributes, error=error)
            self._model_span = None


def _request_attributes(job: GenerationJob) -> dict[str, str | int | float | bool | list[str]]:
    operation = (
        "embeddings" if job.prompt.inputs else "chat" if job.prompt.messages else "text_completion"
    )
    found: dict[str, str | int | float | bool | list[str]] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "llamagpu",
        "gen_ai.request.model": job.model,
        "gen_ai.request.max_tokens": job.params.max_tokens,
        "gen_ai.request.temperature": job.params.temperature,
        "gen_ai.request.top_p": job.params.top_p,
        "llamagpu.attempt": job.attempt,
    }
    if tracing.tells_content():
        words = json.dumps(to_builtins(job.prompt), ensure_ascii=False)
        found["gen_ai.input.messages"] = words[:_MOST_CONTENT]
    return found


def _answer_attributes(
    event: DoneEvent | ErrorEvent, job: GenerationJob
) -> dict[str, str | int | float | bool | list[str]]:
    if isinstance(event, ErrorEvent):
        return {}
    found: dict[str, str | int | float | bool | list[str]] = {
        "gen_ai.response.id": job.job_id,
        "gen_ai.response.model": event.model,
        "gen_ai.response.finish_reasons": [str(event.finish_reason)],
        "gen_ai.usage.input_tokens": event.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": event.usage.completion_tokens,
    }
    if tracing.tells_content():
        found["gen_ai.output.messages"] = event.text[:_MOST_CONTENT]
    return found
