"""Stages 4 to 6/7: one job through plugins, engine and stream, in one task thread.

Every path ends in exactly one settlement and one terminal event, except for a job that another
worker has taken over or that a shutdown interrupts: its next attempt will end it.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from django.utils import timezone

from inference.protocol import (
    Delta,
    DoneEvent,
    ErrorEvent,
    Failed,
    Finished,
    GenerationJob,
    RestartEvent,
    Started,
    StreamEvent,
    Submit,
    Usage,
)
from inference.services.attempts import JobStart
from inference.services.settlement import settlement_of
from inference.worker.engine_pool import EnginePool
from inference.worker.engine_process import EngineDiedError, EngineLoadError, Ticket
from inference.worker.gathering import Rounds
from inference.worker.job_run import JobRun
from inference.worker.leases import Claim, Leases
from inference.worker.plugin_prompts import ReadRequest
from inference.worker.plugin_stages import PluginStages
from inference.worker.publisher import Entry, Publisher
from inference.worker.recorder import Ending, Recorder
from inference.worker.remote.engine import Engine
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.log_format import current_request_id
from llamagpu.lib.redis_client import SyncRedis
from plugins_app.observers import Observers
from plugins_app.pipeline import PluginSource, PluginStopError

logger = logging.getLogger(__name__)

#: A job whose engine or worker dies is begun again. The last attempt has no other last attempt
#: beside it: a request that kills its engine then takes no innocent one down for good.
MAX_ATTEMPTS = 3
_STREAM_SLACK = 900
# Beyond the deadline the engine itself ends a request; this only catches an engine that hangs.
_HANG_GRACE = 4.0


class JobRunner:
    """Runs jobs side by side, each in the thread that calls `run`."""

    def __init__(
        self,
        client: SyncRedis,
        worker: str,
        instance: str,
        engines: EnginePool,
        plugins: PluginSource,
    ) -> None:
        self._worker = worker
        self._engines = engines
        self._plugins = plugins
        self._runs: dict[str, JobRun] = {}
        self._lock = threading.Lock()
        self._is_draining = False
        self._last_attempts = threading.Lock()
        self._rounds = {is_streamed: Rounds() for is_streamed in (True, False)}
        self._publisher = Publisher(client, self._on_fenced)
        self._recorder = Recorder()
        self._observers = Observers(plugins)
        self._leases = Leases(client, worker, instance, self._on_cancel, self._on_lost)

    @property
    def num_active(self) -> int:
        return self._leases.num_held

    def drain(self) -> None:
        """From now on a job whose engine goes away is left for the next worker."""
        self._is_draining = True

    def close(self, timeout: float) -> None:
        """Write what is left to be written."""
        self._recorder.close(timeout)
        self._publisher.close(timeout)
        self._observers.close(timeout)
        self._leases.close()

    def run(self, job: GenerationJob) -> None:
        """Run one job to its end. A message for a job that runs elsewhere or has ended does nothing."""
        if self.accept(job):
            self.finish(job.job_id)

    def accept(self, job: GenerationJob) -> bool:
        """Take a job that `finish` will run, so that nobody else does. Raises RedisError.

        False for one that runs elsewhere or has ended.
        """
        claim = self._leases.claim(job)
        if claim is not Claim.GRANTED:
            logger.info("job %s: message ignored, the job is %s", job.job_id, claim)
            return False
        with self._lock:
            self._runs[job.job_id] = JobRun(job, PluginStages((), job))
        return True

    def finish(self, job_id: str) -> None:
        """Run a job that was accepted to its end; a worker that drains leaves it for the next one."""
        run = self._find(job_id)
        if run is None:
            return
        token = current_request_id.set(run.job.request_id)
        try:
            self._finish(run)
        finally:
            current_request_id.reset(token)

    def _finish(self, run: JobRun) -> None:
        job_id = run.job.job_id
        if self._is_draining or run.is_lost:
            self.give_back(job_id)
            return
        try:
            with self._plugins.lease() as links:
                run.stages = PluginStages(links, run.job)
                self._run_claimed(run)
        except PluginStopError as stop:
            self._fail(run, stop.code, str(stop))
        except Exception:  # nothing may escape into Celery: the caller waits for an end
            logger.exception("job %s: unforeseen failure", job_id)
            self._fail(run, ErrorCode.INTERNAL_ERROR, "The worker met an unexpected condition.")
        finally:
            with self._lock:
                self._runs.pop(job_id, None)

    def give_back(self, job_id: str) -> None:
        """Let go of an accepted job that was not begun: the reaper finds it."""
        with self._lock:
            self._runs.pop(job_id, None)
        self._leases.release(job_id)

    # -------------------------------------------------------------- one job

    def _run_claimed(self, run: JobRun) -> None:
        while True:
            is_last = run.job.attempt >= MAX_ATTEMPTS
            try:
                with self._last_attempts if is_last else nullcontext():
                    self._attempt(run)
                return
            except EngineDiedError as error:
                if run.is_lost:
                    return
                if self._is_draining:
                    self._leases.release(run.job.job_id)  # the reaper begins it again
                    return
                if is_last:
                    if not run.usage.completion_tokens:
                        run.usage = Usage()  # nothing came of its prompt
                    self._fail(run, ErrorCode.INFERENCE_FAILED, error.summary)
                    return
                logger.warning("job %s: the engine died, beginning again", run.job.job_id)
                run.job = replace(run.job, attempt=run.job.attempt + 1)

    def _attempt(self, run: JobRun) -> None:
        job = run.job
        run.begin_attempt()
        remaining = job.deadline_unix - time.time()
        if remaining <= 0:
            self._fail(run, ErrorCode.DEADLINE_EXCEEDED, "The time limit passed in the queue.")
            return
        self._recorder.started(JobStart(job.job_id, job.attempt, self._worker, timezone.now()))
        if job.attempt > 1:
            self._publish(run, RestartEvent(job.attempt))
        try:
            request, engine = self._prepare(run, remaining)
        except PluginStopError as stop:
            self._fail(run, stop.code, str(stop))
            return
        except EngineLoadError as error:
            self._fail_to_load(run, error)
            return
        if run.cancelled.is_set():
            self._fail(run, ErrorCode.CANCELLED, run.why_cancelled)
            return
        submitted = time.time()
        submit = Submit(
            request_id=run.engine_request_id,
            prompt=request.prompt,
            params=request.params,
            timeout=max(0.001, job.deadline_unix - submitted),
            tenant=job.tenant,
            priority=job.priority,
            traceparent=run.trace.begin_model(),
        )
        # A plugin may take its time with a piece: then the job's own thread waits for it.
        relay = None if run.stages.reads_pieces else partial(self._take, run, submitted)
        ticket = engine.submit(submit, relay)
        if run.cancelled.is_set():  # the mark came between the look above and the submission
            engine.cancel(ticket.request_id)
        self._follow(run, ticket, submitted)

    def _prepare(self, run: JobRun, timeout: float) -> tuple[ReadRequest, Engine]:
        """Stage 4, and the engine: it goes first only where a plugin asks how the model runs.

        Raises PluginStopError and EngineLoadError.
        """
        engine = self._find_engine(run, timeout) if run.stages.needs_engine else None
        request = run.stages.read_request(engine.info if engine else None)
        run.course = replace(run.course, plugins_before=request.acted)
        return request, engine or self._find_engine(run, timeout)

    def _fail_to_load(self, run: JobRun, error: EngineLoadError) -> None:
        """Raises EngineDiedError where the next worker shall load it."""
        if self._is_draining:
            raise EngineDiedError(run.job.model) from error
        if run.cancelled.is_set():
            self._fail(run, ErrorCode.CANCELLED, run.why_cancelled)
        elif time.time() >= run.job.deadline_unix:
            message = "The model was not ready within the time limit."
            self._fail(run, ErrorCode.DEADLINE_EXCEEDED, message)
        else:
            self._fail(run, error.code, str(error))

    def _find_engine(self, run: JobRun, timeout: float) -> Engine:
        """Wait for a loaded engine. Raises EngineLoadError."""
        began = time.monotonic()
        try:
            engine = self._engines.get(
                run.job.model, timeout, is_wanted=lambda: not run.cancelled.is_set()
            )
        finally:  # all attempts together, as `queue_time` is
            waited = (run.course.load_time or 0.0) + time.monotonic() - began
            run.course = replace(run.course, load_time=waited)
        run.engine = engine
        return engine

    def _follow(self, run: JobRun, ticket: Ticket, submitted: float) -> None:
        """Wait for the terminal event; take those before it that do not come by a relay."""
        waited = submitted - run.job.created_unix
        while True:
            event = self._next_event(run, ticket)
            match event:
                case Started() | Delta():
                    self._take(run, submitted, event)
                case Finished():
                    run.meter.end_attempt(event.usage)
                    self._succeed(run, event, waited)
                    return
                case Failed(code=ErrorCode.NO_WORKER) if run.stopped is None:
                    # It shuts down, with this request or without having begun it.
                    raise EngineDiedError(run.job.model)
                case Failed():
                    run.usage = event.usage
                    run.meter.end_attempt(event.usage)
                    is_asked_for = event.code is ErrorCode.CANCELLED
                    message = run.why_cancelled if is_asked_for else event.message
                    self._fail(run, event.code, message)
                    return
                case None:
                    return

    def _next_event(
        self, run: JobRun, ticket: Ticket
    ) -> Started | Delta | Finished | Failed | None:
        """None where none will come and the job has been failed. Raises EngineDiedError."""
        timeout = run.job.deadline_unix - time.time() + _HANG_GRACE
        try:
            return ticket.next_event(max(0.1, timeout))
        except queue.Empty:
            ticket.mute()
            self._fail(run, ErrorCode.DEADLINE_EXCEEDED, "The engine gave no sign in time.")
        except EngineDiedError:
            if run.stopped is None:
                raise
            self._fail(run, ErrorCode.INFERENCE_FAILED, EngineDiedError.summary)
        return None

    def _take(self, run: JobRun, submitted: float, event: Started | Delta) -> None:
        if isinstance(event, Started):
            run.note_started(event, submitted - run.job.created_unix)
        else:
            run.note_delta(event, submitted)
            self._pass_on(run, event)

    def _pass_on(self, run: JobRun, delta: Delta) -> None:
        """Publish what plugins leave of a piece. Once one has ended the request only its end counts."""
        if run.stopped is not None:
            return
        try:
            piece = run.stages.pass_on(delta)
            self._publish(run, *run.gather(piece, self._rounds, len(self._runs)))
        except PluginStopError as stop:
            run.stop(stop)

    # -------------------------------------------------------------- ends

    def _succeed(self, run: JobRun, event: Finished, waited: float) -> None:
        job = run.job
        run.usage = event.usage
        try:
            if run.stopped is not None:
                raise run.stopped
            answer = run.stages.read_answer(event)
        except PluginStopError as stop:
            self._fail(run, stop.code, str(stop))
            return
        self._publish(run, *run.gathering.take(), *answer.tokens)
        timings = replace(
            event.timings,
            queue_time=event.timings.queue_time + waited,
            load_time=run.course.load_time,
            engine_wait=event.timings.queue_time,
        )
        backend = run.engine.info.backend if run.engine and run.engine.info else ""
        done = DoneEvent(
            text=answer.text,
            finish_reason=event.finish_reason,
            usage=event.usage,
            timings=timings,
            model=job.model,
            backend=backend,
            plugins=(*run.course.plugins_before, *run.stages.after),
            logprobs=answer.logprobs,
            choices=answer.choices,
            plugins_after=run.stages.after,
            prompt_logprobs=answer.prompt_logprobs,
            embeddings=event.embeddings,
        )
        self._end(run, done)

    def _fail(self, run: JobRun, code: ErrorCode, message: str) -> None:
        """The caller is billed for what the attempt has computed, however it went.

        A plugin that had ended the request goes before what came of that.
        """
        if run.stopped is not None:
            code, message = run.stopped.code, str(run.stopped)
        run.course = replace(run.course, plugins_after=run.stages.after)
        self._end(run, ErrorEvent(code, message, run.usage))

    def _end(self, run: JobRun, event: DoneEvent | ErrorEvent) -> None:
        """Settle the row, then tell the reader, then free the lease."""
        run.meter.tell()
        run.trace.end(event)
        if run.is_lost:
            return

        def tell() -> None:
            self._publish(run, *run.gathering.take(), event)
            self._leases.release(run.job.job_id)
            if run.stages.has_observers:
                self._observers.tell(run.stages.observation(event, settlement.course or run.course))

        settlement = settlement_of(run.job.job_id, run.job.attempt, event, run.course)
        self._recorder.ended(Ending(settlement, tell))

    def _publish(self, run: JobRun, *events: StreamEvent) -> None:
        job = run.job
        for event in events:
            lifetime = int(max(0.0, job.deadline_unix - time.time())) + _STREAM_SLACK
            self._publisher.publish(Entry(job.job_id, job.attempt, event, lifetime))

    # -------------------------------------------------------------- word from other threads

    def _on_cancel(self, job_id: str, reason: str) -> None:
        run = self._find(job_id)
        if run:
            run.why_cancelled = reason
            run.cancelled.set()
            if run.engine:
                run.engine.cancel(run.engine_request_id)

    def _on_lost(self, job_id: str) -> None:
        logger.warning("job %s: another worker has taken it over", job_id)
        run = self._find(job_id)
        if run:
            run.is_lost = True
            if run.engine:
                run.engine.cancel(run.engine_request_id)

    def _on_fenced(self, job_id: str, attempt: int) -> None:
        run = self._find(job_id)
        if run and run.job.attempt == attempt:
            self._on_lost(job_id)
            self._leases.release(job_id)

    def _find(self, job_id: str) -> JobRun | None:
        with self._lock:
            return self._runs.get(job_id)
