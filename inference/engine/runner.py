"""What a backend asks of whatever computes its steps."""

from __future__ import annotations

from typing import Protocol

import torch

from inference.engine.kv_cache.base import KVCache
from inference.engine.step_plan import StepPlan


class Runner(Protocol):
    """A model with its cache. One thread calls it."""

    @property
    def cache(self) -> KVCache:
        """The stored keys and values."""

    @property
    def hidden_size(self) -> int | None:
        """Numbers in a hidden state; None where they cannot be had."""

    @property
    def hidden(self) -> torch.Tensor:
        """The last hidden states [rows, hidden] of the step that was computed last, of its `pooled`
        chunks in order. A runner of one sequence may give all of a prompt's with its last chunk.
        """

    def run(self, plan: StepPlan) -> torch.Tensor:
        """Compute a step; the logits [rows that ask for them, vocab], float32, on the device."""
