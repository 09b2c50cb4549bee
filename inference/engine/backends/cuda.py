"""NVIDIA GPUs.

Optimization levels: 0 computes every step eagerly; 1, the default, replays decode steps from graphs
and changes no number; 2 adds INT8 weights and activations (`inference.engine.quantized_linear`: half
the memory, nearly exact); 3 is 2, since graphs leave a compiler little to win.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from inference.engine.backends.base import ServedModel
from inference.engine.backends.paged_backend import PagedBackend
from inference.engine.config import MAX_LEVEL, EngineConfig
from inference.engine.errors import LoadError
from inference.engine.loading import LoadedModel, Progress
from inference.engine.paged.serving import GRAPH_LEVEL, record_graphs
from inference.engine.parallel.placement import pipeline_placement
from inference.engine.quantized_linear import quantize_linears
from inference.model_files import ModelFiles
from llamagpu.lib.error_codes import ErrorCode

INT8_LEVEL = 2


class CudaBackend(PagedBackend):
    """Computes on the first of the devices that the settings name, or on the first visible GPU.

    Further devices hold further layers, or further parts of every layer (`tensor_parallel`).
    """

    name = "cuda"

    def __init__(self) -> None:
        super().__init__()
        self._index = 0
        self._loaded: LoadedModel | None = None
        self._is_int8 = False

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", self._index)

    @property
    def default_dtype(self) -> torch.dtype:
        # Before Ampere (2020) bfloat16 is emulated, slowly.
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if is_native else torch.float16

    def _find_obstacle(self) -> str | None:
        if torch.version.cuda is None:
            return f"torch {torch.__version__} is built without CUDA"
        if not torch.cuda.is_available():
            return "no CUDA device or driver was found"
        return None

    def _free_bytes(self) -> int | None:
        return self._free_on(self.device)

    def _free_on(self, device: torch.device) -> int | None:
        # What the allocator holds in reserve and nobody uses is free as well.
        free, _ = torch.cuda.mem_get_info(device)
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + idle

    def _prepare(self, config: EngineConfig) -> None:
        self._index = config.devices[0] if config.devices else 0
        count = torch.cuda.device_count()
        for index in (self._index, *config.devices):
            if index >= count:
                raise LoadError(f"there is no GPU {index}, only {count}", ErrorCode.INVALID_INPUT)
        if self._wanted_level(config) >= INT8_LEVEL and self._num_parts(config) > 1:
            raise LoadError(
                "INT8 (optimization level 2) is for one GPU; use level 1 over several",
                ErrorCode.INVALID_INPUT,
            )
        torch.cuda.set_device(self.device)

    def _num_parts(self, config: EngineConfig) -> int:
        return max(1, config.tensor_parallel, len(config.devices))

    def _placement(self, files: ModelFiles, config: EngineConfig) -> dict[str, Any] | None:
        if len(config.devices) < 2:
            return None
        devices = [torch.device("cuda", index) for index in config.devices]
        rooms = [self._free_on(device) or 0 for device in devices]
        return pipeline_placement(files.path, files.num_layers, devices, rooms)

    def _serve(self, loaded: LoadedModel, config: EngineConfig, progress: Progress) -> ServedModel:
        self._loaded = loaded
        if self._wanted_level(config) >= INT8_LEVEL:
            self._quantize(loaded)
        return super()._serve(loaded, config, progress)

    @property
    def optimization_level(self) -> int:
        if self._is_int8:
            return INT8_LEVEL
        has_graphs = self._serving is not None and self._serving.runner.graphs is not None
        return GRAPH_LEVEL if has_graphs else 0

    def set_optimization_level(self, level: int) -> None:
        if not 0 <= level <= MAX_LEVEL or self._serving is None or self._loaded is None:
            raise LoadError(
                f"optimization level {level} is not available on {self.name}",
                ErrorCode.INVALID_INPUT,
            )
        if self._is_int8 and level < INT8_LEVEL:
            raise LoadError(
                "the exact weights are gone: load the model again to leave INT8",
                ErrorCode.INVALID_INPUT,
            )
        if level >= INT8_LEVEL and not self._is_int8:
            self._serving.runner.graphs = None
            self._quantize(self._loaded)
        if level < GRAPH_LEVEL:
            self._serving.runner.graphs = None
        elif self._serving.runner.graphs is None:
            record_graphs(self._serving, lambda stage, fraction: None)

    def _quantize(self, loaded: LoadedModel) -> None:
        quantize_linears(loaded.model)
        self._is_int8 = True
        torch.cuda.empty_cache()

    def scrub(self, slot: int, num_tokens: int) -> None:
        super().scrub(slot, num_tokens)
        torch.cuda.empty_cache()

    def release_memory(self, idle_slots: Sequence[int]) -> int:
        before = torch.cuda.memory_reserved(self.device)
        torch.cuda.empty_cache()
        return before - torch.cuda.memory_reserved(self.device)

    def get_capabilities(self) -> dict[str, Any]:
        properties = torch.cuda.get_device_properties(self.device)
        free, total = torch.cuda.mem_get_info(self.device)
        return {
            **self.paged_facts(),
            "device_name": properties.name,
            "num_devices": torch.cuda.device_count(),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "runtime": str(torch.version.hip or torch.version.cuda),
            "dtypes": ["bfloat16", "float16", "float32"],
            "optimization_level": self.optimization_level,
            "memory_free_bytes": free,
            "memory_total_bytes": total,
            "torch": str(torch.__version__),
        }

    def get_metrics(self) -> dict[str, Any]:
        return {
            **super().get_metrics(),
            "allocated_bytes": torch.cuda.memory_allocated(self.device),
            "reserved_bytes": torch.cuda.memory_reserved(self.device),
            "peak_allocated_bytes": torch.cuda.max_memory_allocated(self.device),
        }
