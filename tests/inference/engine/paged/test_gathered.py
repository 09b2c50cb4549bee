"""Gathered attention against attention written out, and what the fast kernel would be told."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from inference.engine.attention import LayerRule
from inference.engine.kv_cache.base import LayerShape
from inference.engine.paged import attention, varlen
from inference.engine.paged.gathered import attend_gathered
from inference.engine.paged.inputs import InputStaging
from inference.engine.paged.rows import PagedRows
from inference.engine.paged.varlen import attend_varlen, check_varlen, why_not_varlen
from inference.engine.probe import ProbedLayer

CPU = torch.device("cpu")
PAGE = 128
SHAPE = LayerShape(2, 16, 16)


def written_out(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rows: PagedRows, rule: LayerRule
) -> torch.Tensor:
    """Each row by itself, over just the tokens that it may see."""
    output = []
    row = 0
    for table, count, length in zip(rows.tables, rows.counts, rows.lengths, strict=True):
        for position in range(length - count, length):
            first = 0 if rule.window is None else max(0, position - rule.window + 1)
            seen_keys = keys[table].flatten(0, 1)[first : position + 1]
            seen_values = values[table].flatten(0, 1)[first : position + 1]
            group = query.shape[1] // keys.shape[2]
            seen_keys = seen_keys.repeat_interleave(group, dim=1)
            scores = torch.einsum("hd,lhd->hl", query[row], seen_keys) * rule.scaling
            if rule.softcap is not None:
                scores = torch.tanh(scores / rule.softcap) * rule.softcap
            weights = scores.softmax(dim=-1)
            seen_values = seen_values.repeat_interleave(group, dim=1)
            output.append(torch.einsum("hl,lhd->hd", weights, seen_values))
            row += 1
    return torch.stack(output)


@pytest.mark.parametrize("with_chunks", [False, True])
@pytest.mark.parametrize("window", [None, 1, 40, 200])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_gathered_attention_is_attention(
    window: int | None, softcap: float | None, with_chunks: bool
) -> None:
    rows = varlen._sample_rows(PAGE, with_chunks=with_chunks)
    torch.manual_seed(0)
    num_pages = 1 + max(map(max, rows.tables))
    keys = torch.randn(num_pages, PAGE, 2, 16)
    values = torch.randn(num_pages, PAGE, 2, 16)
    query = torch.randn(len(rows.token_ids), 4, 16)
    rule = LayerRule(0.25, window, softcap)
    ours = attend_gathered(query, keys, values, rows, InputStaging(CPU).upload(rows), rule)
    torch.testing.assert_close(ours, written_out(query, keys, values, rows, rule))


class Kernel:
    """Stands in for torch's kernel; right unless told otherwise."""

    def __init__(self, error: float = 0.0) -> None:
        self.calls: list[dict[str, Any]] = []
        self._error = error

    def __call__(self, query: Any, keys: Any, values: Any, *args: Any, **keywords: Any) -> Any:
        self.calls.append({"max_q": args[2], "max_k": args[3], **keywords})
        borders, lengths, tables = args[0], keywords["seqused_k"], keywords["block_table"]
        assert args[1].tolist() == [0, *lengths.cumsum(0).tolist()]
        counts = borders.diff().tolist()
        left, right = keywords["window_size"]
        assert right == 0 or max(counts) == 1
        page = keys.shape[1]
        rows = PagedRows(
            counts=counts,
            lengths=lengths.tolist(),
            tables=[
                row[: -(-length // page)]
                for row, length in zip(tables.tolist(), lengths.tolist(), strict=True)
            ],
        )
        # The kernel's window does not count the row itself.
        rule = LayerRule(keywords["scale"], None if left < 0 else left + 1, None)
        exact = written_out(query.float(), keys.float(), values.float(), rows, rule)
        return (exact + self._error).to(query.dtype)


def test_the_kernel_is_told_what_gathered_attention_computes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = Kernel()
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    assert check_varlen(4, SHAPE, {None, 33}, PAGE, torch.bfloat16, CPU) is None
    assert {call["num_splits"] for call in kernel.calls} == {1}
    assert all(call["enable_gqa"] for call in kernel.calls)
    windows = {(call["max_q"] > 1, call["window_size"]) for call in kernel.calls}
    assert windows == {
        (False, (-1, -1)),
        (True, (-1, 0)),
        (False, (32, 0)),
        (True, (32, 0)),
    }


@pytest.mark.parametrize("error", [0.5, float("nan")])
def test_a_kernel_that_is_wrong_is_found_out(error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen, "varlen_attn", Kernel(error))
    problem = check_varlen(4, SHAPE, {None}, PAGE, torch.bfloat16, CPU)
    assert problem is not None
    assert "differs from float32's" in problem


def test_a_kernel_that_is_not_there_is_found_out() -> None:
    problem = check_varlen(4, SHAPE, {None}, PAGE, torch.bfloat16, CPU)
    assert problem is not None
    assert "_flash_attention_forward" in problem


def test_shapes_and_rules_that_the_kernel_lacks() -> None:
    gpu = torch.device("cuda", 0)
    half, single = torch.bfloat16, torch.float32
    assert why_not_varlen([SHAPE], [None], half, gpu) is None
    assert "float32" in str(why_not_varlen([SHAPE], [None], single, gpu))
    assert "caps" in str(why_not_varlen([SHAPE], [None, 50.0], half, gpu))
    assert "heads of 12" in str(why_not_varlen([LayerShape(1, 12, 12)], [None], half, gpu))
    assert "heads of 320" in str(why_not_varlen([LayerShape(1, 320, 320)], [None], half, gpu))
    assert "differ" in str(why_not_varlen([LayerShape(1, 64, 32)], [None], half, gpu))
    assert "on cpu" in str(why_not_varlen([SHAPE], [None], half, CPU))


def test_a_gpu_without_the_kernel_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    layers = [ProbedLayer(SHAPE, None, 50.0, 4)] * 3
    with caplog.at_level(logging.WARNING):
        assert not attention.choose_varlen(layers, 256, torch.bfloat16, [torch.device("cuda", 0)])
        assert not attention.choose_varlen(layers, 256, torch.float32, [CPU])
    assert len(caplog.records) == 1
    assert "it caps no scores" in caplog.text


def test_no_split_keys_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    rows = varlen._sample_rows(PAGE, with_chunks=False)
    pages = torch.randn(1 + max(map(max, rows.tables)), PAGE, 2, 16)
    query = torch.randn(len(rows.token_ids), 2, 16)
    attend_varlen(query, pages, pages, InputStaging(CPU).upload(rows), 1, None, 0.25)
    assert kernel.calls[0]["num_splits"] == 1
    assert not kernel.calls[0]["enable_gqa"]
