"""How well a model foresaw the tokens of a prompt: their log probabilities, chunk by chunk.

The logits of a step hold a row for each token of such a chunk beside the rows to sample from. Only the
figures are kept, and how many rows a step may hold is bounded, so a long prompt takes no more memory
than a short one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from inference.engine.sampler import SampledToken
from inference.engine.sequence import Sequence
from inference.engine.step_plan import StepPlan
from inference.engine.tiling import TILE

_MAX_BYTES = 32 << 20
_FLOAT32 = 4


@dataclass(frozen=True, slots=True)
class ChunkScores:
    """Of the tokens that follow positions `start`.. of a prompt."""

    sequence: Sequence
    start: int
    scores: list[SampledToken]

    def apply(self) -> bool:
        """Keep what is new, since a chunk may come again after a preemption; whether it is sound."""
        known = len(self.sequence.prompt_scores)
        self.sequence.prompt_scores += self.scores[known - self.start :]
        return all(math.isfinite(score.logprob or 0.0) for score in self.scores)


def scored_rows(vocab_size: int) -> int:
    """Rows of logits that one step may hold for prompts: whole tiles, at least one."""
    return max(TILE, _MAX_BYTES // (_FLOAT32 * vocab_size) // TILE * TILE)


def score_prompts(
    plan: StepPlan,
    logits: torch.Tensor,  # [all rows, vocab]
) -> tuple[list[ChunkScores], torch.Tensor]:
    """The scores of the plan's chunks, and the rows of `logits` to sample from, in order."""
    if not any(chunk.is_scored for chunk in plan.chunks):
        return [], logits
    first = len(plan.sampled_before_chunks)
    kept, found = list(range(first)), []
    with torch.inference_mode():
        for chunk in plan.chunks:
            if chunk.is_scored:
                rows = logits[first : first + chunk.logit_rows]
                found.append(_score(chunk.sequence, chunk.start, rows))
            first += chunk.logit_rows
            if chunk.is_sampled:
                kept.append(first - 1)
        return found, logits[torch.tensor(kept, dtype=torch.int64, device=logits.device)]


def _score(sequence: Sequence, start: int, logits: torch.Tensor) -> ChunkScores:
    targets = sequence.prompt_ids[start + 1 : start + 1 + logits.shape[0]]
    logits = logits[: len(targets)]
    if not targets:
        return ChunkScores(sequence, start, [])
    num_best = min(sequence.params.prompt_logprobs or 0, logits.shape[-1])
    sums = logits.logsumexp(-1, keepdim=True)
    ids = torch.tensor(targets, dtype=torch.int64, device=logits.device)
    chosen = (logits.gather(1, ids[:, None]) - sums)[:, 0].tolist()
    values, best = logits.topk(num_best, dim=-1)
    tops = zip(best.tolist(), (values - sums).tolist(), strict=True)
    return ChunkScores(
        sequence,
        start,
        [
            SampledToken(token_id, logprob, tuple(zip(*top, strict=True)))
            for token_id, logprob, top in zip(targets, chosen, tops, strict=True)
        ],
    )
