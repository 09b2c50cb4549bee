"""A job that runs in this worker, and what is known of it so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from inference.protocol import Delta, GenerationJob, Started, TokenEvent, Usage
from inference.services.cancellation import CANCELLED
from inference.services.settlement import Course
from inference.worker.gathering import Gathering, Rounds, interval_of
from inference.worker.job_meter import JobMeter
from inference.worker.job_trace import JobTrace
from inference.worker.plugin_stages import PluginStages
from inference.worker.remote.engine import Engine
from plugins_app.pipeline import PluginStopError


@dataclass(slots=True)
class JobRun:
    """`is_lost` says that another worker has it now, `stopped` that a plugin ends it.

    `usage` is what its present attempt has computed, as far as the engine has said, `num_tokens` the
    part of each of its answers, and `course` how it came to it.
    """

    job: GenerationJob
    stages: PluginStages
    gathering: Gathering = field(default_factory=Gathering)
    meter: JobMeter = field(init=False)
    trace: JobTrace = field(init=False)
    usage: Usage = field(default_factory=Usage)
    num_tokens: dict[int, int] = field(default_factory=dict)
    course: Course = field(default_factory=Course)
    engine: Engine | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    why_cancelled: str = CANCELLED
    is_lost: bool = False
    stopped: PluginStopError | None = None

    def __post_init__(self) -> None:
        self.meter = JobMeter(self.job)
        self.trace = JobTrace(self.job)

    @property
    def engine_request_id(self) -> str:
        """Names the present attempt to its engine."""
        return f"{self.job.job_id}.{self.job.attempt}"

    def begin_attempt(self) -> None:
        self.usage, self.num_tokens = Usage(), {}
        self.gathering = Gathering()
        self.meter.begin_attempt()
        self.trace.begin_attempt()
        self.course = Course(load_time=self.course.load_time)
        self.stages.begin_attempt()

    def note_started(self, event: Started, waited: float) -> None:
        """`waited` is how long the job had been on its way to the engine."""
        self.usage = Usage(event.prompt_tokens)
        self.meter.note_prompt(event.prompt_tokens)
        wait = event.queue_time
        self.course = replace(self.course, queue_time=waited + wait, engine_wait=wait)

    def note_delta(self, event: Delta, submitted: float) -> None:
        """Count the tokens, and measure the time to the first: the engine's, whatever plugins hold."""
        if not self.num_tokens:
            self.course = replace(self.course, ttft=max(0.0, time.time() - submitted))
        before = self.num_tokens.get(event.index, 0)
        self.meter.note_tokens(event.index, event.num_tokens - before)
        self.num_tokens[event.index] = event.num_tokens
        total = self.usage.completion_tokens + event.num_tokens - before
        self.usage = Usage(self.usage.prompt_tokens, total)

    def gather(
        self, token: TokenEvent, rounds: Mapping[bool, Rounds], num_jobs: int
    ) -> list[TokenEvent]:
        """What is to be told now; there are `rounds` for streams and others for what nobody reads yet."""
        interval = interval_of(self.job, num_jobs)
        return self.gathering.add(token, rounds[self.job.is_streamed], interval)

    def stop(self, stop: PluginStopError) -> None:
        """Have the engine end; its last event says what it has computed."""
        self.stopped = stop
        if self.engine:
            self.engine.cancel(self.engine_request_id)
