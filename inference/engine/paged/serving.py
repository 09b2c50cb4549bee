"""From a loaded model to a runner over pages: measure, reserve, prove, record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from inference.engine.capacity import Capacity
from inference.engine.config import EngineConfig
from inference.engine.kv_cache.page_pool import PAGE
from inference.engine.kv_cache.paged import PagedKVCache
from inference.engine.kv_cache.pages import PagedAccounting
from inference.engine.loading import LoadedModel, Progress
from inference.engine.paged.activations import measure_activations
from inference.engine.paged.attention import choose_varlen
from inference.engine.paged.capacity import DeviceRoom, count_pages, plan_paged
from inference.engine.paged.graphs import DecodeGraphs, try_capture
from inference.engine.paged.runner import PagedModelRunner

FreeBytes = Callable[[torch.device], int | None]
Agree = Callable[[list[int]], list[int]]
# From this level on, decode steps are recorded as graphs.
GRAPH_LEVEL = 1


@dataclass(frozen=True, slots=True)
class PagedServing:
    """What serves a model from pages."""

    runner: PagedModelRunner
    accounting: PagedAccounting
    capacity: Capacity


def build_paged(
    loaded: LoadedModel,
    config: EngineConfig,
    free_bytes: FreeBytes,
    *,
    layer_devices: Sequence[torch.device] | None = None,
    page: int = PAGE,
    agree: Agree = lambda numbers: numbers,
) -> PagedServing:
    """Reserve the cache and make the runner; `layer_devices` where not all layers are on one device.

    Several ranks must come to the same figures: `agree` gives the smallest of each number over all
    of them. Raises LoadError INSUFFICIENT_MEMORY, or torch.OutOfMemoryError.
    """
    devices = list(layer_devices or [loaded.device] * len(loaded.layers))
    uses_varlen = choose_varlen(loaded.layers, page, loaded.dtype, devices)
    rooms = _measure_rooms(loaded, config, devices, free_bytes, page)
    wanted = count_pages(config, loaded.max_model_len, rooms, page)
    num_pages, varlen_votes = agree([wanted, int(uses_varlen)])
    capacity = plan_paged(config, loaded.max_model_len, num_pages, page)
    accounting = PagedAccounting(capacity.num_slots, num_pages, page)
    shapes = [layer.shape for layer in loaded.layers]
    cache = PagedKVCache(shapes, accounting, dtype=loaded.dtype, devices=devices)
    runner = PagedModelRunner(
        loaded.model, loaded.hook, cache, accounting, loaded.device, uses_varlen=bool(varlen_votes)
    )
    return PagedServing(runner, accounting, capacity)


def record_graphs(serving: PagedServing, progress: Progress) -> None:
    """Record decode steps at all batch sizes, where the runner's attention can be recorded.

    What cannot be recorded runs eagerly, after one warning. Steps over several devices are not
    recorded: a graph belongs to one.
    """
    runner = serving.runner
    runner.graphs = None
    is_one_device = len({tensor.device for tensor in runner.cache.keys}) == 1
    if not runner.uses_varlen or not is_one_device:
        return
    progress("graphs", 0.0)
    num_columns = -(-serving.capacity.max_model_len // runner.page)
    graphs = DecodeGraphs(runner.device, runner.page, num_columns)
    num_slots = serving.capacity.num_slots
    if try_capture(graphs, runner.forward, num_slots, lambda done: progress("graphs", done)):
        runner.graphs = graphs
    progress("graphs", 1.0)


def _measure_rooms(
    loaded: LoadedModel,
    config: EngineConfig,
    devices: Sequence[torch.device],
    free_bytes: FreeBytes,
    page: int,
) -> list[DeviceRoom]:
    num_rows = config.prefill_budget + config.num_slots
    unique = list(dict.fromkeys(devices))
    activations = measure_activations(loaded, unique, num_rows, config.num_slots)
    rooms = []
    for device in unique:
        page_bytes = page * sum(
            layer.shape.bytes_per_token(loaded.dtype.itemsize)
            for layer, place in zip(loaded.layers, devices, strict=True)
            if place == device
        )
        free = free_bytes(device)
        rooms.append(DeviceRoom(None if free is None else free - activations[device], page_bytes))
    return rooms
