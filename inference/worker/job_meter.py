"""Counts the tokens of one job as they come, and how long they took."""

from __future__ import annotations

import time

from inference import metrics
from inference.protocol import GenerationJob, Usage


class JobMeter:
    """Lives as long as the job; what several attempts computed was computed, so all of it counts."""

    __slots__ = ("_came_at", "_counted", "_created_unix", "_has_first", "_model")

    def __init__(self, job: GenerationJob) -> None:
        self._model = job.model
        self._created_unix = job.created_unix
        self._has_first = False
        self._counted = [0, 0]  # tokens of the prompt and of the answers, of this attempt
        self._came_at: dict[int, float] = {}

    def begin_attempt(self) -> None:
        self._counted = [0, 0]
        self._came_at.clear()

    def note_prompt(self, num_tokens: int) -> None:
        self._count(Usage(num_tokens, self._counted[1]))

    def note_tokens(self, index: int, num_new: int) -> None:
        """`num_new` more tokens of the answer `index` have come."""
        now = time.monotonic()
        before = self._came_at.get(index)
        self._came_at[index] = now
        if num_new <= 0:
            return
        self._counted[1] += num_new
        metrics.GENERATION_TOKENS.inc(num_new, model_name=self._model)
        if before is not None:
            metrics.TOKEN_GAP.observe_many(
                (now - before) / num_new, num_new, model_name=self._model
            )
        elif not self._has_first:
            self._has_first = True
            metrics.FIRST_TOKEN.observe(time.time() - self._created_unix, model_name=self._model)

    def end_attempt(self, usage: Usage) -> None:
        """What the engine says at the end holds: not every token comes by itself."""
        self._count(usage)

    def _count(self, usage: Usage) -> None:
        told = (usage.prompt_tokens, usage.completion_tokens)
        families = (metrics.PROMPT_TOKENS, metrics.GENERATION_TOKENS)
        for place, family in enumerate(families):
            more = told[place] - self._counted[place]
            if more > 0:
                self._counted[place] = told[place]
                family.inc(more, model_name=self._model)
