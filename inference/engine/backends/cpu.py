"""The CPU: always there, float32, one thread per core that this process may use."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from inference.engine.backends.torch_backend import TorchBackend
from inference.engine.config import EngineConfig
from inference.engine.memory import available_bytes, resident_bytes


class CpuBackend(TorchBackend):
    """Computes in host memory."""

    name = "cpu"

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def default_dtype(self) -> torch.dtype:
        # float32 is both the fastest plain type on most CPUs and exact enough that batching
        # never changes a greedy answer.
        return torch.float32

    def _find_obstacle(self) -> str | None:
        return None

    def _free_bytes(self) -> int | None:
        return available_bytes()

    def _prepare(self, config: EngineConfig) -> None:
        # More threads than cores make every parallel region wait for a thread that does not run.
        num_cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(min(config.num_threads or num_cores, num_cores))

    def get_capabilities(self) -> dict[str, Any]:
        return {
            "device_name": platform.processor() or platform.machine(),
            "num_devices": 1,
            "num_threads": torch.get_num_threads(),
            "instruction_set": torch.backends.cpu.get_cpu_capability(),
            "dtypes": ["float32", "bfloat16", "float16"],
            "memory_free_bytes": available_bytes(),
            "torch": str(torch.__version__),
        }

    def get_metrics(self) -> dict[str, Any]:
        return {**super().get_metrics(), "resident_bytes": resident_bytes()}
