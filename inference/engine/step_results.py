"""A step's tokens go to their sequences: text, ends, failures of single rows, guesses verified."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from inference.engine.counters import Counters
from inference.engine.drafts import Drafts
from inference.engine.output import OutputProcessor
from inference.engine.prompt_scores import ChunkScores
from inference.engine.sampler import SampledToken
from inference.engine.scheduler import Scheduler
from inference.engine.sequence import Sequence
from inference.engine.step_plan import StepPlan, Verification
from inference.protocol import EngineEvent, Failed

logger = logging.getLogger(__name__)
Fail = Callable[[Sequence, str], Failed]
Tokens = list[SampledToken | None]


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What the device has computed: a token for each of `plan.sampled`, scores of prompts, and the
    hidden states that `Runner.hidden` describes.
    """

    tokens: Tokens
    scores: list[ChunkScores]
    hidden: torch.Tensor | None


class StepResults:
    """Turns tokens into events. What is wrong with one sequence ends only that one.

    `fail` ends a sequence with a message; `fail_unsound` one whose logits were not finite.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        output: OutputProcessor,
        drafts: Drafts,
        counters: Counters,
        *,
        fail: Fail,
        fail_unsound: Callable[[Sequence], Failed],
    ) -> None:
        self._scheduler = scheduler
        self._output = output
        self._drafts = drafts
        self._counters = counters
        self._fail = fail
        self._fail_unsound = fail_unsound

    def apply(self, plan: StepPlan, output: StepOutput, now: float) -> list[EngineEvent]:
        """What to send; `now` is monotonic seconds."""
        events: list[EngineEvent] = []
        self._note_prompts(plan, output, events)
        tokens, row = output.tokens, 0
        for sequence in plan.decodes:
            self._add_token(sequence, tokens[row], now, events)
            row += 1
        for verification in plan.verifications:
            if verification.logit_rows:
                rows = tokens[row : row + verification.logit_rows]
                self._verify(verification, rows, now, events)
                row += verification.logit_rows
        for chunk in plan.chunks:
            if chunk.is_sampled:
                if not chunk.sequence.is_finished:
                    self._add_token(chunk.sequence, tokens[row], now, events)
                row += 1
            elif chunk.is_last and not chunk.sequence.is_finished:
                self._end_prompt(chunk.sequence, now, events)
        return events

    def _note_prompts(self, plan: StepPlan, output: StepOutput, events: list[EngineEvent]) -> None:
        for scores in output.scores:
            if not scores.apply():
                events.append(self._fail_unsound(scores.sequence))
        if output.hidden is None:
            return
        pooled = plan.pooled
        # A runner of one sequence gives all rows of a prompt at once.
        sizes = [chunk.end - chunk.start for chunk in pooled]
        parts = output.hidden.split(sizes) if len(pooled) > 1 else (output.hidden,)
        for chunk, rows in zip(pooled, parts, strict=True):
            if chunk.sequence.pool is not None:
                chunk.sequence.pool.add(rows)

    def _end_prompt(self, sequence: Sequence, now: float, events: list[EngineEvent]) -> None:
        vector = None
        if sequence.pool is not None and (vector := sequence.pool.vector()) is None:
            events.append(self._fail_unsound(sequence))
            return
        events.append(self._output.end_prompt(sequence, vector, now))
        self._scheduler.finish(sequence)

    def _add_token(
        self, sequence: Sequence, token: SampledToken | None, now: float, events: list[EngineEvent]
    ) -> None:
        if token is None:
            events.append(self._fail_unsound(sequence))
            return
        self._counters.num_generated_tokens += 1
        try:
            events += self._output.apply(sequence, token, now)
        except Exception:
            # The text of one request must not end the others'.
            logger.exception("request %s: its token could not be decoded", sequence.request_id)
            events.append(self._fail(sequence, "its text could not be decoded"))
            return
        if sequence.finish_reason is not None:
            self._scheduler.finish(sequence)

    def _verify(
        self, verification: Verification, tokens: Tokens, now: float, events: list[EngineEvent]
    ) -> None:
        """Keep the model's own tokens as far as the guesses before them were right."""
        sequence, drafts = verification.sequence, verification.draft_ids
        num_kept = 0
        for token in tokens:
            self._add_token(sequence, token, now, events)
            num_kept += 1
            if sequence.is_finished or token is None or num_kept > len(drafts):
                break
            if token.token_id != drafts[num_kept - 1]:
                break
        self._counters.num_drafted += len(drafts)
        self._counters.num_drafts_accepted += num_kept - 1
        self._drafts.learn(sequence, len(drafts), num_kept - 1)
        if not sequence.is_finished:
            self._scheduler.accept(verification, num_kept)
