"""Counts the tokens of one job as they come, and how long they took."""

from __future__ import annotations

import time

from inference import metrics
from inference.protocol import GenerationJob, Usage

# Seconds for which tokens gather here before the metrics hear of them.
_PATIENCE = 0.5


class JobMeter:
    """Lives as long as the job; what several attempts computed was computed, so all of it counts."""

    __slots__ = (
        "_came_at",
        "_counted",
        "_created_unix",
        "_gaps",
        "_has_first",
        "_model",
        "_told_at",
        "_untold",
    )

    def __init__(self, job: GenerationJob) -> None:
        self._model = job.model
        self._created_unix = job.created_unix
        self._has_first = False
        self._counted = [0, 0]  # tokens of the prompt and of the answers, of this attempt
        self._came_at: dict[int, float] = {}
        self._gaps: list[tuple[float, int]] = []
        self._untold = 0
        self._told_at = 0.0

    def begin_attempt(self) -> None:
        self.tell()
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
        self._untold += num_new
        if before is not None:
            self._gaps.append(((now - before) / num_new, num_new))
        elif not self._has_first:
            self._has_first = True
            metrics.FIRST_TOKEN.observe(time.time() - self._created_unix, model_name=self._model)
        if now - self._told_at > _PATIENCE:
            self._told_at = now
            self.tell()

    def end_attempt(self, usage: Usage) -> None:
        """What the engine says at the end holds: the last tokens may come with it alone."""
        num_last = usage.completion_tokens - self._counted[1]
        if num_last > 0 and len(self._came_at) == 1:
            (before,) = self._came_at.values()
            self._gaps.append(((time.monotonic() - before) / num_last, num_last))
        self.tell()
        self._count(usage)

    def tell(self) -> None:
        """Let the metrics hear of what has gathered here."""
        if self._gaps:
            metrics.TOKEN_GAP.observe_all(self._gaps, model_name=self._model)
            self._gaps.clear()
        if self._untold:
            metrics.GENERATION_TOKENS.inc(self._untold, model_name=self._model)
            self._untold = 0

    def _count(self, usage: Usage) -> None:
        told = (usage.prompt_tokens, usage.completion_tokens)
        families = (metrics.PROMPT_TOKENS, metrics.GENERATION_TOKENS)
        for place, family in enumerate(families):
            more = told[place] - self._counted[place]
            if more > 0:
                self._counted[place] = told[place]
                family.inc(more, model_name=self._model)
