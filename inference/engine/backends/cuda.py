"""NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from inference.engine.backends.paged_backend import PagedBackend
from inference.engine.config import EngineConfig


class CudaBackend(PagedBackend):
    """Computes on the first of the devices that the settings name, or on the first visible GPU.

    Further devices hold further layers, or further parts of every layer (`tensor_parallel`).
    """

    name = "cuda"

    def __init__(self) -> None:
        super().__init__()
        self._index = 0

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", self._index)

    @property
    def default_dtype(self) -> torch.dtype:
        return torch.bfloat16

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
        torch.cuda.set_device(self.device)

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
