"""The engine's loop: one thread owns the device; other threads hand it work and get events back.

A step is: schedule, run the model, sample, turn tokens into text, emit. A loop with nothing to do
sleeps in its inbox; a failed step fails its own requests and the loop goes on.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable

from inference.engine.backends.base import BaseBackend, ServedModel
from inference.engine.counters import Counters
from inference.engine.errors import DeviceLost, RequestError
from inference.engine.failures import explain_failure
from inference.engine.intake import build_sequence
from inference.engine.kv_cache.slots import SlotPool
from inference.engine.memory import resident_bytes
from inference.engine.output import OutputProcessor
from inference.engine.sampler import SampledToken, Sampler
from inference.engine.scheduler import Scheduler, StepPlan
from inference.engine.sequence import Sequence
from inference.protocol import Drained, EngineEvent, Failed, Started, Stats, Submit
from llamagpu.lib.error_codes import ErrorCode

logger = logging.getLogger(__name__)
Emit = Callable[[list[EngineEvent]], None]


class Engine:
    """Serves one loaded model. `run` is the loop; all other public methods are for any thread.

    `emit` gets lists of events, from the loop's thread or from a caller of `submit`; it must be
    thread-safe and must not block for long. Every submitted request gets exactly one terminal event.
    """

    def __init__(
        self,
        backend: BaseBackend,
        served: ServedModel,
        emit: Emit,
        *,
        prefill_budget: int = 512,
        max_waiting: int = 256,
    ) -> None:
        files, tokenizer = served.loaded.files, served.loaded.tokenizer
        self._backend = backend
        self._emit = emit
        self._tokenizer = tokenizer
        self._capacity = served.capacity
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._scheduler = Scheduler(
            served.accounting or SlotPool(served.capacity.num_slots, served.capacity.slot_len),
            prefill_budget=prefill_budget,
            max_waiting=max_waiting,
        )
        self._sampler = Sampler(
            num_slots=served.capacity.num_slots,
            vocab_size=files.vocab_size,
            eos_token_ids=files.eos_token_ids,
        )
        self._output = OutputProcessor(
            eos_token_ids=files.eos_token_ids, token_text=tokenizer.token_text
        )
        self._counters = Counters()
        self._drain_deadline: float | None = None
        self._is_drained = False
        self._is_stopping = False

    # ------------------------------------------------------------ for any thread

    def submit(self, command: Submit) -> None:
        """Queue a request; what is wrong with it comes back as its `Failed` event."""
        self._counters.num_requests += 1
        try:
            sequence = build_sequence(command, self._tokenizer, self._capacity.max_model_len)
        except RequestError as error:
            self._emit([Failed(command.request_id, error.code, error.message)])
        except Exception:
            # One strange prompt must not take the reader, and so the engine, down.
            logger.exception("request %s could not be read", command.request_id)
            message = "the request could not be read"
            self._emit([Failed(command.request_id, ErrorCode.INFERENCE_FAILED, message)])
        else:
            self._inbox.put(lambda: self._enqueue(sequence))

    def cancel(self, request_id: str) -> None:
        """End a request before the next step; one that has ended already is left alone."""
        self._inbox.put(lambda: self._cancel(request_id))

    def drain(self, timeout: float) -> None:
        """Refuse new requests, finish the others within `timeout` seconds, then emit `Drained`."""
        self._inbox.put(lambda: self._start_drain(timeout))

    def stop(self) -> None:
        """Leave `run` after the step that is under way."""
        self._inbox.put(self._stop)

    def stats(self) -> Stats:
        """A snapshot; its numbers may be one step apart."""
        scheduler, counters = self._scheduler, self._counters
        num_places = self._capacity.num_slots * self._capacity.max_model_len
        metrics = self._backend.get_metrics()
        return Stats(
            num_running=scheduler.num_running,
            num_waiting=scheduler.num_waiting,
            num_slots=self._capacity.num_slots,
            kv_cache_usage=scheduler.num_cached_tokens / num_places,
            prompt_tokens_total=counters.num_prompt_tokens,
            generation_tokens_total=counters.num_generated_tokens,
            requests_total=counters.num_requests,
            steps_total=counters.num_steps,
            step_time_total=counters.step_seconds,
            resident_bytes=resident_bytes(),
            device_memory={
                name: value for name, value in metrics.items() if name.endswith("_bytes")
            },
        )

    # ------------------------------------------------------------ the loop's thread

    def run(self) -> None:
        """Serve until `stop`. Raises DeviceLost, after failing all requests, where the device
        answers no more and only a new process can go on.
        """
        try:
            self._loop()
        except DeviceLost as error:
            left = self._scheduler.all()
            self._emit([self._fail(sequence, error.message, error.code) for sequence in left])
            raise

    def _loop(self) -> None:
        while not self._is_stopping:
            self._receive(wait=not self._scheduler.has_work)
            self._expire()
            if self._scheduler.has_work and not self._is_stopping:
                self.step()
            self._check_drained()

    def step(self) -> None:
        """One round over everything that runs. Raises DeviceLost."""
        started = time.perf_counter()
        plan = self._scheduler.schedule()
        try:
            self._announce(plan.started)
            logits = self._backend.infer(plan)
            tokens = self._sampler.sample(logits, plan.sampled)
            self._scheduler.advance(plan)
            self._emit(self._apply(plan.sampled, tokens))
        except Exception as error:
            logger.exception("a step of %d requests failed", len(plan.sequences))
            self._fail_step(plan, error)
        self._counters.num_steps += 1
        self._counters.step_seconds += time.perf_counter() - started

    def _receive(self, *, wait: bool) -> None:
        """Carry out what other threads asked for; with `wait`, sleep until there is something."""
        if wait:
            self._inbox.get()()
        while True:
            try:
                action = self._inbox.get_nowait()
            except queue.Empty:
                return
            action()

    def _announce(self, started: tuple[Sequence, ...]) -> None:
        events: list[EngineEvent] = []
        now = time.monotonic()
        for sequence in started:
            sequence.started_at = now
            num_prompt = len(sequence.prompt_ids)
            self._counters.num_prompt_tokens += num_prompt
            events.append(Started(sequence.request_id, num_prompt, now - sequence.received_at))
        if events:
            self._emit(events)

    def _apply(
        self, sequences: tuple[Sequence, ...], tokens: list[SampledToken | None]
    ) -> list[EngineEvent]:
        events: list[EngineEvent] = []
        now = time.monotonic()
        for sequence, token in zip(sequences, tokens, strict=True):
            if token is None:
                events.append(self._fail_unsound(sequence))
                continue
            self._counters.num_generated_tokens += 1
            try:
                news = self._output.apply(sequence, token, now)
            except Exception:
                # The text of one request must not end the others'.
                logger.exception("request %s: its token could not be decoded", sequence.request_id)
                events.append(self._fail(sequence, "its text could not be decoded"))
                continue
            events.extend(news)
            if sequence.finish_reason is not None:
                self._scheduler.finish(sequence)
        return events

    def _enqueue(self, sequence: Sequence) -> None:
        if self._scheduler.find(sequence.request_id) is not None:
            # A second terminal event for this id would end the first request for its caller.
            logger.error("request id %s is in use; the second is ignored", sequence.request_id)
            return
        try:
            if self._drain_deadline is not None:
                raise RequestError("the engine is shutting down", ErrorCode.NO_WORKER)
            self._scheduler.add(sequence)
        except RequestError as error:
            self._emit([Failed(sequence.request_id, error.code, error.message)])

    def _cancel(self, request_id: str) -> None:
        sequence = self._scheduler.find(request_id)
        if sequence is not None:
            self._emit([self._fail(sequence, "the request was cancelled", ErrorCode.CANCELLED)])

    def _expire(self) -> None:
        expired = self._scheduler.expired(time.monotonic())
        message = "the request's time limit passed"
        if expired:
            self._emit([self._fail(s, message, ErrorCode.DEADLINE_EXCEEDED) for s in expired])

    def _start_drain(self, timeout: float) -> None:
        self._drain_deadline = time.monotonic() + timeout

    def _check_drained(self) -> None:
        if self._drain_deadline is None or self._is_drained:
            return
        left = self._scheduler.all()
        if left and time.monotonic() < self._drain_deadline:
            return
        message = "the engine shut down before the answer was complete"
        events: list[EngineEvent] = [self._fail(s, message, ErrorCode.NO_WORKER) for s in left]
        self._emit([*events, Drained(num_aborted=len(left))])
        self._is_drained = True

    def _stop(self) -> None:
        self._is_stopping = True

    def _fail_step(self, plan: StepPlan, error: Exception) -> None:
        """End the plan's requests. Raises DeviceLost where nothing can follow."""
        failure = explain_failure(error)
        left = [sequence for sequence in plan.sequences if not sequence.is_finished]
        if not isinstance(failure, DeviceLost):
            for sequence in left:
                self._scrub(sequence)
        self._emit([self._fail(sequence, failure.message, failure.code) for sequence in left])
        if isinstance(failure, DeviceLost):
            raise failure

    def _fail_unsound(self, sequence: Sequence) -> Failed:
        self._scrub(sequence)
        return self._fail(sequence, "the model's output was not a finite number")

    def _scrub(self, sequence: Sequence) -> None:
        if sequence.slot is None:
            return
        try:
            self._backend.scrub(sequence.slot, sequence.num_tokens)
        except (RuntimeError, MemoryError) as error:
            raise DeviceLost("a cache slot could not be cleaned") from error

    def _fail(
        self, sequence: Sequence, message: str, code: ErrorCode = ErrorCode.INFERENCE_FAILED
    ) -> Failed:
        self._scheduler.finish(sequence)
        return Failed(sequence.request_id, code, message)
