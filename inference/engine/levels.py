"""Optimization levels of models that run as transformers wrote them, on the CPU.

0 plain: the model as it is. 1 fused: projections that read the same input are one product, and the
cache holds bfloat16. 2 integers: every product with 8-bit weights and activations
(`inference.engine.quantized_linear`). Level 3 is not reached from here: it is the kernels of
`inference.engine.native`. What each costs and gives is measured in docs/performance.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from inference.engine.quantized_linear import quantize_linears

FUSED_LEVEL = 1
INT8_LEVEL = 2
# Children of one module that transformers calls one after the other with the same input.
_GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def cache_dtype(level: int, dtype: torch.dtype) -> torch.dtype:
    """The type of keys and values at `level`, for a model that computes in `dtype`."""
    return torch.bfloat16 if level >= FUSED_LEVEL and dtype == torch.float32 else dtype


def fuse_projections(model: nn.Module) -> int:
    """Make one product of each group of projections with the same input; how many groups."""
    count = 0
    for module in list(model.modules()):
        for names in _GROUPS:
            parts = [getattr(module, name, None) for name in names]
            if all(type(part) is nn.Linear for part in parts):
                fused = _FusedLinear(parts)  # type: ignore[arg-type]
                for index, name in enumerate(names):
                    setattr(module, name, _Part(fused, index))
                count += 1
    return count


def quantize(model: nn.Module) -> int:
    """Give every linear layer, the head included, 8-bit weights; how many."""
    return quantize_linears(model, keep=frozenset())


class _FusedLinear(nn.Module):
    """Several linear layers of one input, computed when the first of them is asked for."""

    def __init__(self, parts: list[nn.Linear]) -> None:
        super().__init__()
        self._sizes = [part.out_features for part in parts]
        first = parts[0]
        self.linear = nn.Linear(
            first.in_features,
            sum(self._sizes),
            bias=any(part.bias is not None for part in parts),
            dtype=first.weight.dtype,
            device="meta",
        )
        weight = torch.cat([part.weight.detach() for part in parts])
        self.linear.weight = nn.Parameter(weight, requires_grad=False)
        if self.linear.bias is not None:
            biases = [
                part.bias.detach()
                if part.bias is not None
                else part.weight.new_zeros(part.out_features)
                for part in parts
            ]
            self.linear.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
        self._input: torch.Tensor | None = None
        self._outputs: dict[int, torch.Tensor] = {}

    def take(self, inputs: torch.Tensor, index: int) -> torch.Tensor:
        """Part `index` of the product with `inputs`; each part is handed out once."""
        if self._input is not inputs or index not in self._outputs:
            product: torch.Tensor = self.linear(inputs)
            self._outputs = dict(enumerate(product.split(self._sizes, dim=-1)))
            self._input = inputs
        output = self._outputs.pop(index)
        if not self._outputs:
            self._input = None
        return output


class _Part(nn.Module):
    """Stands where one of the fused layers stood."""

    def __init__(self, fused: _FusedLinear, index: int) -> None:
        super().__init__()
        # Registered once, under its first part: else its weights would be found three times.
        if index == 0:
            self.fused: Any = fused
        else:
            self.__dict__["fused"] = fused
        self._index = index

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.fused.take(inputs, self._index)
        return output
