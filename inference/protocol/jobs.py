"""The wire from web to worker: a job as a Celery message carries it, in JSON."""

from __future__ import annotations

from dataclasses import dataclass

from inference.conversation import Prompt
from inference.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class GenerationJob:
    """One inference as it travels from web to worker. The job row is the truth, this is its copy.

    `reader_grace` is for how many seconds it goes on without a reader; None: it needs none. `role` is
    the slug of its owner's role when the message was sent. `is_streamed` says that its tokens are read
    as they come.
    """

    job_id: str
    attempt: int
    request_id: str
    model: str
    prompt: Prompt
    params: SamplingParams
    created_unix: float
    deadline_unix: float
    tenant: str = ""
    priority: int = 0
    reader_grace: float | None = None
    role: str = ""
    is_streamed: bool = True
    # Of W3C: what the job's spans belong to; empty where nobody traces.
    traceparent: str = ""
