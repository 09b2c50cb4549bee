"""Log probabilities of the model's own distribution, before anything that a request changes in it."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import torch

from inference.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class LogProbabilities:
    """Of the rows that ask for them: log probabilities [asking, vocab], and the best of each row."""

    rows: list[int]
    values: torch.Tensor
    top: list[tuple[tuple[int, float], ...]]

    def of(self, chosen: SequenceOf[int]) -> dict[int, float]:
        """By row, the log probability of its token; `chosen` [all rows] are token ids."""
        ids = torch.tensor([chosen[row] for row in self.rows], device=self.values.device)
        picked = self.values.gather(-1, ids[:, None]).squeeze(-1)
        return dict(zip(self.rows, picked.tolist(), strict=True))


def log_probabilities(
    logits: torch.Tensor,  # [rows, vocab]
    sequences: SequenceOf[Sequence],
) -> LogProbabilities | None:
    """Natural logs of the plain logits' softmax; None where no row asks for any."""
    counts = [sequence.params.logprobs for sequence in sequences]
    rows = [row for row, count in enumerate(counts) if count is not None]
    if not rows:
        return None
    values = torch.log_softmax(logits[torch.tensor(rows, device=logits.device)], dim=-1)
    most = max(counts[row] or 0 for row in rows)
    best, ids = values.topk(min(most, logits.shape[-1]), dim=-1)
    top = [
        tuple(zip(row_ids[: counts[row] or 0], row_best, strict=False))
        for row, row_ids, row_best in zip(rows, ids.tolist(), best.tolist(), strict=True)
    ]
    return LogProbabilities(rows, values, top)
