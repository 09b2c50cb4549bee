"""Stages 1 to 3 and 7 of a call as spans: told by the web process, where tracing is on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from inference.protocol import GenerationJob
from llamagpu.lib import tracing


def trace_admission(jobs: Sequence[GenerationJob], began: float) -> list[GenerationJob]:
    """The same jobs with their trace; `began` is when their call was checked and could be let in."""
    parent = note_admission(len(jobs), began)
    return [replace(job, traceparent=parent) for job in jobs] if parent else list(jobs)


def note_admission(num_jobs: int, began: float) -> str:
    """So many jobs of the call are let in; what their spans belong to, empty where nobody traces."""
    call = tracing.current_call.get()
    if call is None:
        return ""
    now, parent = time.time(), call.span.traceparent
    tracing.record("limits and validation", call.received_at, began, parent)
    tracing.record("admission", began, now, parent, {"llamagpu.jobs": num_jobs})
    call.admitted_at = now
    return parent
