"""AMD GPUs, which a ROCm build of torch shows under `torch.cuda`."""

from __future__ import annotations

import torch

from inference.engine.backends.cuda import CudaBackend


class RocmBackend(CudaBackend):
    """The same code as CUDA's; only the question whether it is there differs."""

    name = "rocm"

    def _find_obstacle(self) -> str | None:
        if torch.version.hip is None:
            return f"torch {torch.__version__} is built without ROCm"
        if not torch.cuda.is_available():
            return "no ROCm device or driver was found"
        return None
