"""INT8 weights on a GPU: half the bytes of bfloat16, and products on the integer units.

Each output channel of a weight has a scale, each token of an activation another one, found on the
spot. Rounding activations to eight bits alone bends a small model's text, so every token goes in
twice: its rounded value, and what the rounding left over, finer by `_FINER`. Both are rows of the
same product, which reads the weights once; the sum is nearly exact.
"""

from __future__ import annotations

import torch
from torch import nn

_MAX = 127.0
# The left-over lies within half a step, so it is shown on a scale finer by 2 x 127.
_FINER = 254.0
# What torch._int_mm wants on a GPU: more than 16 rows, all sizes a multiple of 8. A token is two rows.
_TOKEN_MULTIPLE = 16
_MULTIPLE = 8


class Int8Linear(nn.Module):
    """Replaces an `nn.Linear` for inference. `scale` is float32, one per output channel."""

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / _MAX
        rounded = torch.round(weight / scale).to(torch.int8)
        # Held as [in, out] in memory order [out, in], the layout that the integer kernels read best.
        self.register_buffer("weight", rounded.contiguous().t())
        self.register_buffer("scale", scale.flatten())
        bias = linear.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:  # [..., in] -> [..., out]
        rows = inputs.reshape(-1, self.in_features)
        num_rows = rows.shape[0]
        num_padded = max(1, -(-num_rows // _TOKEN_MULTIPLE)) * _TOKEN_MULTIPLE
        stacked, step = _split(rows.float(), num_padded)
        product = torch._int_mm(stacked, self.weight)  # [2 x padded, out] int32
        coarse, fine = product.view(2, -1, self.out_features)[:, :num_rows].float()
        output = (coarse + fine / _FINER) * step * self.scale
        if self.bias is not None:
            output = output + self.bias
        return output.to(inputs.dtype).reshape(*inputs.shape[:-1], self.out_features)


def _split(rows: torch.Tensor, num_padded: int) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 [M, in] -> int8 [2 x num_padded, in] (coarse, then fine) and the steps [M, 1]."""
    step = rows.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / _MAX
    scaled = rows / step
    coarse = torch.round(scaled)
    stacked = torch.zeros(2, num_padded, rows.shape[1], dtype=torch.int8, device=rows.device)
    stacked[0, : rows.shape[0]] = coarse.to(torch.int8)
    stacked[1, : rows.shape[0]] = torch.round((scaled - coarse) * _FINER).to(torch.int8)
    return stacked.flatten(0, 1), step


def quantize_linears(model: nn.Module, *, keep: frozenset[str] = frozenset({"lm_head"})) -> int:
    """Replace the linear layers of `model`, one at a time so that memory never doubles; how many.

    Layers named in `keep`, and those whose sizes the integer kernels refuse, stay as they are.
    """
    count = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is not nn.Linear or name in keep:
                continue
            if child.in_features % _MULTIPLE or child.out_features % _MULTIPLE:
                continue
            setattr(module, name, Int8Linear(child))
            count += 1
    return count
