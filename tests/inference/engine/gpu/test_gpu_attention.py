"""torch's paged attention on this device: right, and the same whatever else is in the batch."""

from __future__ import annotations

import pytest
import torch

from inference.engine.kv_cache.base import LayerShape
from inference.engine.kv_cache.page_pool import PAGE
from inference.engine.paged.inputs import InputStaging
from inference.engine.paged.rows import PagedRows
from inference.engine.paged.varlen import attend_varlen, check_varlen

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("head_dim", [16, 64, 96, 128, 256])
@pytest.mark.parametrize(("heads", "kv_heads"), [(8, 8), (32, 8), (9, 3), (7, 1)])
def test_the_kernel_is_right(
    heads: int, kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
) -> None:
    shape = LayerShape(kv_heads, head_dim, head_dim)
    assert check_varlen(heads, shape, {None, 1, 100, 1000}, PAGE, dtype, device) is None


def test_a_row_is_the_same_alone_and_in_company(device: torch.device) -> None:
    torch.manual_seed(0)
    pages = torch.randn(40, PAGE, 8, 128, device=device, dtype=torch.bfloat16)
    values = torch.randn_like(pages)
    query = torch.randn(12, 32, 128, device=device, dtype=torch.bfloat16)
    lengths = [1, 30, 255, 256, 257, 600, 511, 512, 513, 700, 5, 9]
    tables = [[1 + 3 * i, 2 + 3 * i, 3 + 3 * i][: -(-n // PAGE)] for i, n in enumerate(lengths)]
    staging = InputStaging(device)

    def attend(chosen: range) -> torch.Tensor:
        rows = PagedRows(
            token_ids=[0] * len(chosen),
            positions=[0] * len(chosen),
            places=[0] * len(chosen),
            counts=[1] * len(chosen),
            lengths=[lengths[i] for i in chosen],
            tables=[tables[i] for i in chosen],
            num_decodes=len(chosen),
        )
        taken = query[chosen.start : chosen.stop]
        return attend_varlen(taken, pages, values, staging.upload(rows), 1, None, 0.1)

    together = attend(range(12))
    alone = torch.cat([attend(range(i, i + 1)) for i in range(12)])
    assert torch.equal(together, alone)
