"""Runs the model over one step's packed row. Whatever happens on the device happens below here."""

from __future__ import annotations

from typing import Any

import torch

from inference.engine.attention import AttentionHook, SlottedAttention
from inference.engine.hidden_states import HiddenStates
from inference.engine.kv_cache.slotted import SlottedKVCache
from inference.engine.step_batch import StepBatch
from inference.engine.step_plan import StepPlan


class ModelRunner:
    """Owns the model and its cache. One thread calls it: the model's hook holds the step's state."""

    supports_drafts = True

    def __init__(
        self, model: Any, hook: AttentionHook, cache: SlottedKVCache, device: torch.device
    ) -> None:
        self._model = model
        self._hook = hook
        self._device = device
        self.cache = cache
        self._attention = SlottedAttention(cache)
        self._states = HiddenStates(model, device)

    @property
    def hidden_size(self) -> int | None:
        return self._states.size

    @property
    def hidden(self) -> torch.Tensor:
        return self._states.rows

    def run(self, plan: StepPlan) -> torch.Tensor:
        """Compute the plan's tokens, write their keys and values; the logits [sampled rows, vocab].

        Rows are in the order of `plan.sampled`, float32, on the device. Raises what torch raises:
        the caller decides what an exhausted or broken device means.
        """
        batch = StepBatch(plan, self._device)
        self._states.expect(plan.pooled_rows)
        self._attention.batch = batch
        self._hook.target = self._attention
        try:
            with torch.inference_mode():
                logits: torch.Tensor = self._model(
                    input_ids=batch.input_ids[None],
                    position_ids=batch.padded_positions[None],
                    use_cache=False,
                    logits_to_keep=batch.sampled_rows,
                ).logits
                return logits[0, : batch.num_sampled].float()
        finally:
            self._attention.batch = None
