"""INT8 linear layers: nearly exact, and replaced where the integer kernels take them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from inference.engine.quantized_linear import Int8Linear, quantize_linears


@pytest.mark.parametrize("num_rows", [1, 3, 16, 17, 40])
@pytest.mark.parametrize("bias", [False, True])
def test_the_only_error_is_that_of_the_weights(num_rows: int, bias: bool) -> None:
    torch.manual_seed(num_rows)
    linear = nn.Linear(64, 48, bias=bias).requires_grad_(False)
    # A few channels are far larger than the others, as in real models.
    inputs = torch.randn(1, num_rows, 64) * (1 + 30 * (torch.rand(64) > 0.9))
    quantized = Int8Linear(linear)
    weights = quantized.weight.t().float() * quantized.scale[:, None]
    expected = inputs @ weights.t() + (linear.bias if bias else 0)
    output = quantized(inputs)
    assert output.shape == expected.shape
    assert (output - expected).abs().max() < 2e-4 * expected.abs().max()
    exact = linear(inputs)
    assert (output - exact).abs().max() < 0.02 * exact.abs().max()


def test_one_token_does_not_change_another() -> None:
    torch.manual_seed(0)
    quantized = Int8Linear(nn.Linear(32, 32).requires_grad_(False))
    rows = torch.randn(20, 32)
    together = quantized(rows)
    alone = torch.cat([quantized(row[None]) for row in rows])
    assert torch.equal(together, alone)


def test_half_precision_goes_in_and_comes_out() -> None:
    quantized = Int8Linear(nn.Linear(32, 16).requires_grad_(False).bfloat16())
    assert quantized(torch.ones(2, 32, dtype=torch.bfloat16)).dtype is torch.bfloat16
    assert torch.isfinite(quantized(torch.zeros(2, 32, dtype=torch.bfloat16))).all()


def test_the_head_and_odd_sizes_are_kept() -> None:
    model = nn.ModuleDict({
        "block": nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 12)),
        "lm_head": nn.Linear(16, 8),
    })  # fmt: skip
    assert quantize_linears(model) == 1
    kinds = {name: type(module) for name, module in model.named_modules()}
    assert kinds["block.0"] is Int8Linear
    assert kinds["block.2"] is kinds["lm_head"] is nn.Linear
