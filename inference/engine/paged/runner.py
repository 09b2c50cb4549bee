"""Runs the model over one step of the paged cache: replayed from a graph where there is one."""

from __future__ import annotations

from typing import Any

import torch

from inference.engine.attention import AttentionHook
from inference.engine.hidden_states import HiddenStates
from inference.engine.kv_cache.paged import PagedKVCache
from inference.engine.kv_cache.pages import PagedAccounting
from inference.engine.paged.attention import PagedAttention, PagedStep
from inference.engine.paged.graphs import DecodeGraphs
from inference.engine.paged.inputs import InputStaging, StepInputs
from inference.engine.paged.rows import PagedRows, build_rows
from inference.engine.step_plan import StepPlan
from inference.engine.tiling import ROW_MULTIPLE


class PagedModelRunner:
    """Owns the model and its paged cache. One thread calls it: the hook holds the step's state.

    `device` is where the numbers go in and the logits come out: the first layer's.
    """

    def __init__(
        self,
        model: Any,
        hook: AttentionHook,
        cache: PagedKVCache,
        accounting: PagedAccounting,
        device: torch.device,
        *,
        uses_varlen: bool = False,
    ) -> None:
        self._model = model
        self._hook = hook
        self._accounting = accounting
        self._attention = PagedAttention(cache, uses_varlen=uses_varlen)
        self._staging = InputStaging(device)
        # The kernel's rows do not depend on each other; gathered attention pads like the CPU's.
        self._multiple = 1 if uses_varlen else ROW_MULTIPLE
        self.cache = cache
        self.device = device
        self.graphs: DecodeGraphs | None = None
        self.states = HiddenStates(model, device)

    @property
    def hidden_size(self) -> int | None:
        return self.states.size

    @property
    def hidden(self) -> torch.Tensor:
        return self.states.rows

    @property
    def supports_drafts(self) -> bool:
        """Rows to verify are computed like decodes, and are part of their graphs."""
        return True

    @property
    def rounds_alike(self) -> bool:
        """Half precision promises no bits; gathered float32 decodes as exactly as it can."""
        return self.uses_varlen

    @property
    def uses_varlen(self) -> bool:
        return self._attention.uses_varlen

    @property
    def page(self) -> int:
        return self._accounting.page

    def run(self, plan: StepPlan) -> torch.Tensor:
        """Compute the plan's tokens, write their keys and values; the logits [sampled, vocab].

        Rows are in the order of `plan.sampled`, float32, on the device; the next step overwrites
        them. Raises what torch raises.
        """
        self.states.expect(plan.pooled_rows)
        return self.compute(self.rows_of(plan))

    def rows_of(self, plan: StepPlan) -> PagedRows:
        """The numbers that `compute` wants."""
        return build_rows(plan, self._accounting.table, self.page, multiple=self._multiple)

    def compute(self, rows: PagedRows) -> torch.Tensor:
        """The logits [num_logits, vocab] of a step that may have been planned by another rank."""
        with torch.inference_mode():
            if self.graphs is not None and (logits := self.graphs.replay(rows)) is not None:
                return logits[: rows.num_logits]
            step = PagedStep(rows, self._staging.upload(rows), max(rows.counts, default=1))
            return self.forward(step)[: rows.num_logits]

    def forward(self, step: PagedStep) -> torch.Tensor:
        """The model over inputs that are on the device; logits [S, vocab], float32."""
        inputs: StepInputs = step.inputs
        self._attention.step = step
        self._hook.target = self._attention
        try:
            logits: torch.Tensor = self._model(
                input_ids=inputs.token_ids[None],
                position_ids=inputs.positions[None],
                use_cache=False,
                logits_to_keep=inputs.logit_rows,
            ).logits
            return logits[0].float()
        finally:
            self._attention.step = None
