"""Serving from pages, as GPUs do: the cache, the proof of its attention, recorded decode steps."""

from __future__ import annotations

from typing import Any

import torch

from inference.engine.backends.base import ServedModel
from inference.engine.backends.torch_backend import TorchBackend
from inference.engine.config import EngineConfig
from inference.engine.kv_cache.page_pool import PAGE
from inference.engine.loading import LoadedModel, Progress
from inference.engine.paged.runner import PagedModelRunner
from inference.engine.paged.serving import GRAPH_LEVEL, PagedServing, build_paged, record_graphs
from inference.engine.parallel.placement import devices_of_layers
from inference.engine.self_test import check_attention


class PagedBackend(TorchBackend):
    """A backend whose cache is paged."""

    page: int = PAGE
    _serving: PagedServing | None = None

    def _serve(self, loaded: LoadedModel, config: EngineConfig, progress: Progress) -> ServedModel:
        progress("cache", 0.0)
        serving = build_paged(
            loaded,
            config,
            self._free_on,
            layer_devices=devices_of_layers(loaded.model, len(loaded.layers), loaded.device),
            page=self.page,
        )
        progress("cache", 1.0)
        progress("self-test", 0.0)
        self_test_paged(loaded, serving)
        progress("self-test", 1.0)
        if self._wanted_level(config) >= GRAPH_LEVEL:
            record_graphs(serving, progress)
        self._runner = serving.runner
        self._serving = serving
        return ServedModel(loaded, serving.capacity, serving.accounting)

    def paged_facts(self) -> dict[str, Any]:
        """JSON-ready: how attention is computed, and which batch sizes are recorded."""
        runner = self._runner
        if not isinstance(runner, PagedModelRunner):
            return {}
        return {
            "attention": "varlen" if runner.uses_varlen else "gathered",
            "graph_batch_sizes": list(runner.graphs.sizes) if runner.graphs is not None else [],
            "page_tokens": runner.page,
        }

    def _wanted_level(self, config: EngineConfig) -> int:
        """The optimization level to serve at."""
        return GRAPH_LEVEL if config.optimization_level is None else config.optimization_level

    def _free_on(self, device: torch.device) -> int | None:
        """Bytes that are free on one of the devices that hold layers."""
        return self._free_bytes()


def self_test_paged(loaded: LoadedModel, serving: PagedServing) -> None:
    """`check_attention` in a place of its own. Raises LoadError."""
    place = serving.accounting.allocate(1)
    if place is None:
        raise RuntimeError("an empty cache has no place")
    try:
        check_attention(loaded, serving.runner, slot=place.slot)
    finally:
        serving.accounting.free(place.slot)
