"""The last hidden states of a model that transformers runs, taken where they enter the head.

The model's body gives them in every step; they are kept only for rows that somebody asked for.
"""

from __future__ import annotations

from typing import Any

import torch


class HiddenStates:
    """Listens at the body of `model`, a causal language model. One thread uses it."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self._device = device
        self._wanted: list[int] | None = None
        body = getattr(model, getattr(model, "base_model_prefix", "") or "-", None)
        #: Numbers in a row; None where the model has no body to listen at.
        self.size: int | None = None
        if isinstance(body, torch.nn.Module) and body is not model:
            self.size = int(model.config.get_text_config().hidden_size)
            body.register_forward_hook(self._note)
        self.rows = self._nothing()

    def expect(self, rows: list[int]) -> None:
        """The rows of the next step's input that are wanted, often none."""
        self._wanted = rows or None
        self.rows = self._nothing()

    def _note(self, module: Any, arguments: Any, output: Any) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is None:
            return
        states = output[0] if isinstance(output, tuple) else output.last_hidden_state
        index = torch.tensor(wanted, dtype=torch.int64, device=states.device)
        #: [wanted rows, hidden], of the model's type.
        self.rows = states[0].index_select(0, index)

    def _nothing(self) -> torch.Tensor:
        return torch.empty(0, self.size or 0, device=self._device)
