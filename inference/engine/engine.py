"""The engine's loop: one thread owns the device; other threads hand it work and get events back.

A step is: schedule, run the model, sample, turn tokens into text, emit. A loop with nothing to do
sleeps in its inbox; a failed step fails its own requests and the loop goes on.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from typing import Any

from inference.engine.backends.base import BaseBackend, ServedModel
from inference.engine.choices import ChoiceGroups
from inference.engine.counters import Counters
from inference.engine.drafts import Drafts
from inference.engine.embedding import Embedder
from inference.engine.errors import DeviceLost, RequestError
from inference.engine.failures import explain_failure, is_out_of_memory
from inference.engine.grammar import failure_of
from inference.engine.grammar_compiler import GrammarCompiler
from inference.engine.input_groups import InputGroups
from inference.engine.intake import Intake
from inference.engine.kv_cache.slots import SlotPool
from inference.engine.memory_guard import MemoryGuard
from inference.engine.output import OutputProcessor
from inference.engine.pending import PendingGrammars
from inference.engine.prompt_scores import score_prompts, scored_rows
from inference.engine.sampler import Sampler
from inference.engine.scheduler import Propose, Scheduler, slot_of
from inference.engine.sequence import Sequence
from inference.engine.stats import take_stats
from inference.engine.step_pace import StepPace
from inference.engine.step_plan import StepPlan
from inference.engine.step_results import StepOutput, StepResults
from inference.protocol import Drained, EngineEvent, Failed, Started, Stats, Submit, Usage
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
        max_drafts: int = 7,
        draft_batch: int = 2,
    ) -> None:
        """Up to `max_drafts` tokens are guessed for a sequence (0: none), as long as no more than
        `draft_batch` sequences run.
        """
        files, tokenizer, self._backend = served.loaded.files, served.loaded.tokenizer, backend
        self._capacity = served.capacity
        self._embedder, scores = Embedder(backend, files.path), not served.loaded.is_serial
        self._intake = Intake(tokenizer, self._capacity.max_model_len, self._embedder, scores)
        # Half of the places at most: whoever comes meanwhile finds one.
        half = self._capacity.num_slots // 2
        self._inputs = InputGroups(emit, self._enter, self._leave, window=half)
        self._choices = ChoiceGroups(self._inputs.emit, self._enter, self._leave)
        self._emit = self._choices.emit
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._pace = StepPace()
        self._scheduler = Scheduler(
            served.accounting or SlotPool(self._capacity.num_slots, self._capacity.slot_len),
            prefill_budget=prefill_budget,
            max_waiting=max_waiting,
            step_limit=self._pace.most_tokens,
            scored_rows=scored_rows(files.vocab_size),
        )
        self._scheduler.set_rounding(rounds_alike=self._rounds_alike())
        self._sampler = Sampler(vocab_size=files.vocab_size, eos_token_ids=files.eos_token_ids)
        self._grammars = GrammarCompiler(tokenizer, files.vocab_size, files.eos_token_ids)
        self._pending = PendingGrammars(self._grammars, self._inbox.put)
        self._counters = Counters()
        self._guard = MemoryGuard(self._scheduler, backend, self._counters)
        self._drafts = Drafts(max_drafts)
        self._draft_batch = draft_batch if max_drafts else 0
        output = OutputProcessor(eos_token_ids=files.eos_token_ids, token_text=tokenizer.token_text)
        self._results = StepResults(
            self._scheduler, output, self._drafts, self._counters,
            fail=self._fail, fail_unsound=self._fail_unsound,
        )  # fmt: skip
        #: Odd while a step computes; for a watchdog.
        self.num_progress = 0
        self._drain_deadline: float | None = None
        self._is_drained = False
        self._is_stopping = False

    # ------------------------------------------------------------ for any thread

    def submit(self, command: Submit) -> None:
        """Queue a request; what is wrong with it comes back as its `Failed` event."""
        self._counters.num_requests += 1
        try:
            sequences = self._intake.read(command)
        except RequestError as error:
            self._emit([Failed(command.request_id, error.code, error.message)])
        except Exception:
            # One strange prompt must not take the reader, and so the engine, down.
            logger.exception("request %s could not be read", command.request_id)
            message = "the request could not be read"
            self._emit([Failed(command.request_id, ErrorCode.INFERENCE_FAILED, message)])
        else:
            groups = self._inputs if command.prompt.inputs else self._choices
            groups.start(command.request_id, sequences)

    def cancel(self, request_id: str) -> None:
        """End a request before the next step; one that has ended already is left alone."""
        if not self._inputs.cancel(request_id):
            self._choices.cancel(request_id)

    def drain(self, timeout: float) -> None:
        """Refuse new requests, finish the others within `timeout` seconds, then emit `Drained`."""
        self._inbox.put(lambda: self._start_drain(timeout))

    def preempt_all(self, then: Callable[[], None]) -> None:
        """Between two steps, send all running requests back to wait and call `then`.

        It may replace what computes and what the cache holds, though not the cache's size. The
        requests go on afterwards as if nothing had happened. Runs on the loop's thread.
        """
        self._inbox.put(lambda: self._preempt_all(then))

    def stop(self) -> None:
        """Leave `run` after the step that is under way."""
        self._inbox.put(self._stop)

    def offers(self) -> dict[str, Any]:
        """What requests may ask for besides answers, JSON-ready."""
        return {
            "embeddings": self._embedder.describe(),
            "prompt_logprobs": self._intake.scores_prompts,
        }

    def stats(self) -> Stats:
        """A snapshot; its numbers may be one step apart."""
        return take_stats(self._scheduler, self._counters, self._backend)

    # ------------------------------------------------------------ the loop's thread

    def run(self) -> None:
        """Serve until `stop`. Raises DeviceLost, after failing all requests, where the device
        answers no more and only a new process can go on.
        """
        try:
            self._loop()
        except DeviceLost as error:
            left = self._open_sequences()
            self._emit([self._fail(sequence, error.message, error.code) for sequence in left])
            raise
        finally:
            self._grammars.close()

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
        plan = self._scheduler.schedule(self._proposer())
        if plan.stranded:
            self._emit([self._fail_stranded(sequence) for sequence in plan.stranded])
        if plan.started:
            self._announce(plan.started)
        if plan.has_work:
            self._carry_out(plan)
        self._counters.num_steps += 1
        self._counters.step_seconds += time.perf_counter() - started

    def _carry_out(self, plan: StepPlan) -> None:
        try:
            output = self._compute(plan)
        except Exception as error:
            if is_out_of_memory(error) and self._guard.after_failure(plan, error):
                return
            logger.exception("a step of %d requests failed", len(plan.sequences))
            self._fail_step(plan, error)
            return
        try:
            self._scheduler.advance(plan)
            events = self._results.apply(plan, output, time.monotonic())
            if events:
                self._emit(events)
        except Exception as error:
            logger.exception("the tokens of %d requests were lost", len(plan.sequences))
            self._fail_step(plan, error)
        else:
            self._guard.after_step(time.monotonic())

    def _compute(self, plan: StepPlan) -> StepOutput:
        """The device's part: changes nothing that a second try would not do again."""
        started = time.perf_counter()
        self.num_progress += 1
        try:
            for copy in plan.copies:
                self._backend.copy_prefix(copy.source, slot_of(copy.sequence), copy.num_tokens)
            self._sampler.prepare(plan.sampled)
            scores, logits = score_prompts(plan, self._backend.infer(plan))
            tokens = self._sampler.sample(logits, plan.sampled)
            output = StepOutput(tokens, scores, self._backend.hidden if plan.pooled else None)
        finally:
            self.num_progress += 1
        self._note_time(plan, time.perf_counter() - started)
        return output

    def _note_time(self, plan: StepPlan, seconds: float) -> None:
        counters = self._counters
        if plan.chunks:
            self._pace.note(plan.num_rows, seconds)
            counters.num_prefill_steps += 1
            counters.prefill_seconds += seconds
            return
        counters.decode_seconds += seconds
        if len(plan.decodes) + len(plan.verifications) <= self._draft_batch:
            self._drafts.note_time(seconds, has_drafts=bool(plan.verifications))

    def _proposer(self) -> Propose | None:
        """Who guesses tokens for the next step: nobody where the batch is busy enough."""
        if self._scheduler.num_running > self._draft_batch or not self._backend.supports_drafts:
            return None
        return self._drafts.propose

    def _receive(self, *, wait: bool) -> None:
        """Carry out what other threads asked for; with `wait`, sleep until there is something."""
        if wait:
            try:
                self._inbox.get(timeout=self._pending.patience)()
            except queue.Empty:
                return
        while True:
            try:
                action = self._inbox.get_nowait()
            except queue.Empty:
                return
            action()

    def _announce(self, started: tuple[Sequence, ...]) -> None:
        events: list[EngineEvent] = []
        counters, now = self._counters, time.monotonic()
        for sequence in started:
            sequence.started_at = now
            num_prompt = len(sequence.prompt_ids)
            counters.num_prompt_tokens += num_prompt
            counters.num_cached_tokens += sequence.num_cached
            counters.num_cache_hits += sequence.num_cached > 0
            events.append(Started(sequence.request_id, num_prompt, now - sequence.received_at))
        self._emit(events)

    def _enter(self, sequence: Sequence) -> None:
        self._inbox.put(lambda: self._enqueue(sequence))

    def _leave(self, request_id: str) -> None:
        self._inbox.put(lambda: self._cancel(request_id))

    def _enqueue(self, sequence: Sequence) -> None:
        if self._find(sequence.request_id) is not None:
            # A second terminal event for this id would end the first request for its caller.
            logger.error("request id %s is in use; the second is ignored", sequence.request_id)
            return
        try:
            if self._drain_deadline is not None:
                raise RequestError("the engine is shutting down", ErrorCode.NO_WORKER)
            if not self._pending.hold(sequence, self._enqueue, self._refuse):
                self._scheduler.add(sequence)
        except RequestError as error:
            self._refuse(sequence, error)

    def _refuse(self, sequence: Sequence, error: RequestError) -> None:
        self._emit([Failed(sequence.request_id, error.code, error.message)])

    def _find(self, request_id: str) -> Sequence | None:
        return self._scheduler.find(request_id) or self._pending.find(request_id)

    def _open_sequences(self) -> list[Sequence]:
        return self._scheduler.all() + self._pending.all()

    def _cancel(self, request_id: str) -> None:
        sequence = self._find(request_id)
        if sequence is not None:
            self._emit([self._fail(sequence, "the request was cancelled", ErrorCode.CANCELLED)])

    def _expire(self) -> None:
        now = time.monotonic()
        expired = self._scheduler.expired(now) + self._pending.expired(now)
        message = "the request's time limit passed"
        if expired:
            self._emit([self._fail(s, message, ErrorCode.DEADLINE_EXCEEDED) for s in expired])

    def _start_drain(self, timeout: float) -> None:
        self._drain_deadline = time.monotonic() + timeout

    def _check_drained(self) -> None:
        if self._drain_deadline is None or self._is_drained:
            return
        left = self._open_sequences()
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

    def _fail_stranded(self, sequence: Sequence) -> Failed:
        message = "the cache has no room for this request, even alone"
        return self._fail(sequence, message, ErrorCode.INSUFFICIENT_MEMORY)

    def _preempt_all(self, then: Callable[[], None]) -> None:
        self._scheduler.preempt_all()
        try:
            then()
        except Exception:
            logger.exception("the change between two steps failed; serving goes on")
        self._pace.forget()
        self._scheduler.set_rounding(rounds_alike=self._rounds_alike())

    def _rounds_alike(self) -> bool:
        # What cannot be decoded in several rows at once can only be computed anew in chunks.
        return self._backend.rounds_alike or not self._backend.supports_drafts

    def _fail_unsound(self, sequence: Sequence) -> Failed:
        failure = failure_of(sequence.grammar)
        if failure is not None:
            return self._fail(sequence, failure.message, failure.code)
        self._scrub(sequence)
        return self._fail(sequence, "the model's output was not a finite number")

    def _scrub(self, sequence: Sequence) -> None:
        if sequence.slot is None:
            return
        self._scheduler.cache.forget(sequence.slot)
        try:
            self._backend.scrub(sequence.slot, sequence.num_tokens)
        except (RuntimeError, MemoryError) as error:
            raise DeviceLost("a cache slot could not be cleaned") from error

    def _fail(
        self, sequence: Sequence, message: str, code: ErrorCode = ErrorCode.INFERENCE_FAILED
    ) -> Failed:
        if not self._pending.drop(sequence):
            self._scheduler.finish(sequence)
        has_begun = sequence.started_at is not None
        usage = sequence.usage() if has_begun else Usage()
        return Failed(sequence.request_id, code, message, usage)
