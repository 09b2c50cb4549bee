"""The CPU as a paged backend: what GPUs run, with gathered attention in place of their kernel."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inference.engine.backends.cpu import CpuBackend
from inference.engine.backends.paged_backend import PagedBackend
from inference.engine.tiling import TILE


@pytest.fixture
def serve_from_pages(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Call it with a page size: the CPU of this test is a paged backend from then on."""

    def patch(page: int = TILE) -> None:
        for name in ("_serve", "_free_on", "_wanted_level", "paged_facts"):
            monkeypatch.setattr(CpuBackend, name, getattr(PagedBackend, name), raising=False)
        monkeypatch.setattr(CpuBackend, "page", page, raising=False)

    return patch
