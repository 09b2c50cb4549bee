"""Requests of an engine as spans of the trace that its worker hands on. Nothing where tracing is off."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from inference.protocol import Delta, EngineEvent, Failed, Finished, Started, Submit
from llamagpu.lib import tracing

#: Where an engine sends spans; its worker sets it.
ENDPOINT = "ENGINE_TRACE_ENDPOINT"


def start_from_environment() -> None:
    tracing.start(os.environ.get(ENDPOINT, ""), "engine")


class RequestSpans:
    """From a request's arrival to its last event."""

    def __init__(self) -> None:
        self._spans: dict[str, tracing.Span] = {}
        self._begun: set[str] = set()
        self._lock = threading.Lock()

    def begin(self, command: Submit) -> None:
        tracer = tracing.tracer()
        if tracer is None or not command.traceparent:
            return
        with self._lock:
            self._spans[command.request_id] = tracer.begin("engine", parent=command.traceparent)

    def note(self, events: Sequence[EngineEvent]) -> None:
        """Events on their way to the worker."""
        if not self._spans:
            return
        for event in events:
            if isinstance(event, Started):
                self._tell(event.request_id, "left the queue")
            elif isinstance(event, Delta) and event.request_id not in self._begun:
                self._begun.add(event.request_id)
                self._tell(event.request_id, "first token")
            elif isinstance(event, Finished | Failed):
                self._end(event)

    def _tell(self, request_id: str, name: str) -> None:
        span = self._spans.get(request_id)
        if span is not None:
            span.event(name)

    def _end(self, event: Finished | Failed) -> None:
        with self._lock:
            span = self._spans.pop(event.request_id, None)
            self._begun.discard(event.request_id)
        if span is None:
            return
        usage = event.usage
        attributes = {
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens,
        }
        error = event.code.value if isinstance(event, Failed) else ""
        span.end(attributes, error=error)
