"""What packing keeps of a matrix: all of it in 4 bits, or in 8 bits all but a rounding."""

from __future__ import annotations

import math
from array import array

import pytest
import torch

from inference.engine.native.extract import LinearParts
from inference.engine.native.library import (
    TABLE_TYPES,
    KernelLibrary,
    LayerStruct,
    LinearStruct,
    ModelStruct,
    StepStruct,
)
from inference.engine.native.packing import PackedLinear, pack_linear
from tests.inference.engine.native.packed_models import grid_matrix

PANEL = 64


def pack(
    library: KernelLibrary, *weights: torch.Tensor, is_gated: bool = False, num_threads: int = 1
) -> PackedLinear:
    biases = (None,) * len(weights)
    return pack_linear(library, LinearParts("it", weights, biases, is_gated), num_threads)


def product(library: KernelLibrary, packed: PackedLinear, inputs: torch.Tensor) -> torch.Tensor:
    """What the kernels make of `inputs` [rows, in]: [rows, channels, those of the padding too].

    They compute it as the head of a model without layers, for rows that keep twice the bits.
    """
    bits, n, k, n_real, factor = packed.description
    head = LinearStruct(
        bits=bits, n=n, k=k, n_real=n_real, factor=factor, data=packed.data.data_ptr(),
        bias=None if packed.bias is None else packed.bias.data_ptr(),
    )  # fmt: skip
    table = inputs.contiguous()
    model = ModelStruct(
        hidden=table.shape[1], vocab=n, num_heads=1, num_kv_heads=1, head_dim=16,
        table_type=TABLE_TYPES[table.dtype], embedding_factor=1.0, logit_factor=1.0,
        embeddings=table.data_ptr(), layers=(LayerStruct * 1)(), head=head,
    )  # fmt: skip
    count = table.shape[0]
    rows, zeros, ones = array("i", range(count)), array("i", [0] * count), array("i", [1] * count)
    logits = torch.full((count, n), math.nan)
    session = library.open(model, 1)
    try:
        session.step(
            StepStruct(
                num_rows=count, num_logit_rows=count, tokens=rows.buffer_info()[0],
                positions=zeros.buffer_info()[0], slots=zeros.buffer_info()[0],
                fine=ones.buffer_info()[0], logit_rows=rows.buffer_info()[0],
                logits=logits.data_ptr(),
            )
        )  # fmt: skip
    finally:
        session.close()
    return logits


def unpack(library: KernelLibrary, packed: PackedLinear, width: int) -> torch.Tensor:
    """The matrix that the kernels multiply by, [channels, width], one input at a time."""
    return product(library, packed, torch.eye(width)).T


@pytest.mark.parametrize(("rows", "columns"), [(64, 32), (256, 192), (100, 64), (33, 96)])
def test_a_matrix_on_a_4_bit_grid_takes_4_bits_and_loses_nothing(
    rows: int, columns: int, library: KernelLibrary
) -> None:
    matrix = grid_matrix(rows, columns)
    packed = pack(library, matrix)
    bits, num_channels, num_inputs, num_real, _ = packed.description
    assert (bits, num_channels, num_inputs, num_real) == (4, -(-rows // 64) * 64, columns, rows)
    assert packed.data.nbytes == num_channels * columns * 5 // 8
    # Products are rounded to half a unit of their integer sum, a 254th of a step of the grid; its
    # steps are 0.005 to 0.035 apart.
    torch.testing.assert_close(
        unpack(library, packed, columns)[:rows], matrix, rtol=2e-6, atol=0.035 / 250
    )


def test_a_product_with_4_bits_is_that_of_float64(library: KernelLibrary) -> None:
    matrix = grid_matrix(128, 256)
    # Rows of twice the bits: what is left is half a unit of each group's integer sum.
    inputs = torch.randint(-127, 128, (9, 256)).float()
    inputs[:, ::32] = 127
    expected = inputs.double() @ matrix.double().T
    found = product(library, pack(library, matrix), inputs).double()
    assert ((found - expected).norm() / expected.norm()) < 2e-4


def test_weights_that_a_file_kept_in_half_precision_still_count_as_4_bits(
    library: KernelLibrary,
) -> None:
    matrix = grid_matrix(64, 128)
    packed = pack(library, matrix.half())
    assert packed.description[0] == 4
    # Each lies within what half precision changed: 2^-11 of the largest number of its group.
    worst = (unpack(library, packed, 128) - matrix).abs().max()
    assert worst < 2 * 2**-11 * matrix.abs().max()


def test_one_weight_off_the_grid_makes_it_8_bits(library: KernelLibrary) -> None:
    matrix = grid_matrix(64, 64)
    matrix[40, 50] += 0.4 * (matrix[40].max() - matrix[40].min()) / 15
    assert pack(library, matrix).description[0] == 8


def test_random_weights_take_8_bits_and_lose_half_a_step(library: KernelLibrary) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(96, 192)
    packed = pack(library, matrix)
    assert packed.description[:4] == (8, 128, 192, 96)
    steps = matrix.view(96, 3, 64).abs().amax(-1).repeat_interleave(64, dim=1) / 127
    error = (unpack(library, packed, 192)[:96] - matrix).abs()
    # Half a step, and what keeping the step itself in half precision adds at its far end.
    assert (error <= steps * (0.5 + 127 * 2**-11)).all()
    assert error.mean() < 0.3 * steps.mean()


@pytest.mark.parametrize("columns", [1, 31, 33, 63, 65, 100])
def test_inputs_that_fill_no_group_are_padded_with_nothing(
    columns: int, library: KernelLibrary
) -> None:
    torch.manual_seed(columns)
    matrix = torch.randn(16, columns)
    packed = pack(library, matrix)
    # The kernels read inputs in whole vectors.
    width = -(-columns // 16) * 16
    found = unpack(library, packed, width)
    torch.testing.assert_close(found[:16, :columns], matrix, rtol=0, atol=0.02)
    assert (found[:, columns:].abs() < 0.001).all()
    assert not found[16:].any()


def test_threads_pack_the_same_bytes(library: KernelLibrary) -> None:
    torch.manual_seed(0)
    for matrix in (torch.randn(200, 128), grid_matrix(200, 128)):
        one, three = pack(library, matrix), pack(library, matrix, num_threads=3)
        assert one.description == three.description
        assert torch.equal(one.data, three.data)


def test_matrices_of_one_input_lie_one_below_the_other(library: KernelLibrary) -> None:
    torch.manual_seed(0)
    parts = [torch.randn(rows, 64) for rows in (48, 16, 20)]
    found = unpack(library, pack(library, *parts), 64)
    torch.testing.assert_close(found[:84], torch.cat(parts), rtol=0, atol=0.03)
    assert not found[84:].any()


@pytest.mark.parametrize("rows", [32, 64, 40, 100])
def test_gate_and_up_projections_alternate_by_half_panels(
    rows: int, library: KernelLibrary
) -> None:
    torch.manual_seed(0)
    gate, up = torch.randn(rows, 64), torch.randn(rows, 64)
    packed = pack(library, gate, up, is_gated=True)
    num_panels = -(-rows // 32)
    assert packed.description[1] == num_panels * PANEL
    halves = unpack(library, packed, 64).view(num_panels, 2, 32, 64)
    for index, matrix in enumerate((gate, up)):
        found = halves[:, index].reshape(-1, 64)
        torch.testing.assert_close(found[:rows], matrix, rtol=0, atol=0.03)
        assert not found[rows:].any()


def test_biases_go_where_their_channels_went(library: KernelLibrary) -> None:
    zeros = torch.zeros(40, 64)
    first, second = torch.arange(40.0) + 1, -torch.arange(40.0) - 1
    gated = LinearParts("it", (zeros, zeros), (first, second), is_gated=True)
    found = product(library, pack_linear(library, gated, 1), torch.ones(1, 64)).view(2, 2, 32)
    assert torch.equal(found[:, 0].flatten()[:40], first)
    assert torch.equal(found[:, 1].flatten()[:40], second)
    some = LinearParts("it", (zeros, zeros, zeros), (first, None, second))
    found = product(library, pack_linear(library, some, 1), torch.ones(1, 64))[0]
    assert torch.equal(found[:120], torch.cat([first, torch.zeros(40), second]))


def test_zeros_stay_zeros(library: KernelLibrary) -> None:
    packed = pack(library, torch.zeros(64, 64))
    assert packed.description[0] == 4
    assert not product(library, packed, torch.randn(2, 64)).any()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_refused_by_the_layers_name(
    bad: float, library: KernelLibrary
) -> None:
    matrix = torch.randn(64, 64)
    matrix[3, 3] = bad
    with pytest.raises(ValueError, match="it: a weight is not a finite number"):
        pack(library, torch.randn(64, 64), matrix)


@pytest.mark.parametrize("size", [1e-35, 1e-30, 1e-12, 1e-6, 1.0, 1e6, 1e20, 1e30, 1e37])
@pytest.mark.parametrize("is_on_grid", [False, True])
def test_the_size_of_the_weights_does_not_matter(
    size: float, is_on_grid: bool, library: KernelLibrary
) -> None:
    torch.manual_seed(0)
    matrix = size * (grid_matrix(64, 64) if is_on_grid else torch.randn(64, 64))
    found = unpack(library, pack(library, matrix), 64)
    error = (found.double() - matrix.double()).norm() / matrix.double().norm()
    assert error < 0.01


def test_a_matrix_of_large_and_small_rows_keeps_both(library: KernelLibrary) -> None:
    torch.manual_seed(0)
    sizes = torch.tensor([1.0, 1e-2, 1e-3, 1e-4, 1e-5]).repeat_interleave(16)[:, None]
    matrix = sizes * torch.randn(80, 64)
    found = unpack(library, pack(library, matrix), 64)[:80]
    error = (found - matrix).norm(dim=1) / matrix.norm(dim=1)
    assert error.max() < 0.01
