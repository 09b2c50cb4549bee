"""The CPU: always there, one thread per core that this process may use.

Level 3 is the fast path: kernels of our own over packed weights (`inference.engine.native`). Levels
0 to 2 run the model as transformers wrote it, in float32 (`inference.engine.levels`).
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable
from typing import Any

import torch

from inference.engine.attention import AttentionHook
from inference.engine.backends.base import ServedModel
from inference.engine.backends.torch_backend import TorchBackend
from inference.engine.cache_folder import cache_folder
from inference.engine.capacity import Capacity, plan_capacity
from inference.engine.config import EngineConfig
from inference.engine.errors import LoadError
from inference.engine.kv_cache.base import LayerShape
from inference.engine.levels import (
    FUSED_LEVEL,
    INT8_LEVEL,
    cache_dtype,
    fuse_projections,
    quantize,
)
from inference.engine.loading import LoadedModel, NoTarget, Progress
from inference.engine.memory import available_bytes, give_back_heap, resident_bytes
from inference.engine.native.kv_cache import NativeKVCache
from inference.engine.native.runner import NativeRunner
from inference.engine.native.store import FastPath, find_fast_path
from inference.engine.native.upgrade import Preparation
from inference.engine.quality.comparison import PERPLEXITY_LIMIT
from inference.model_files import ModelFiles
from inference.tokenizer import Tokenizer
from llamagpu.lib.error_codes import ErrorCode

logger = logging.getLogger(__name__)

FAST_LEVEL = 3
# What serves while the fast path is prepared, and where it cannot be.
_FIRST_LEVEL = INT8_LEVEL
_BACKGROUND_THREADS = 1


class CpuBackend(TorchBackend):
    """Computes in host memory."""

    name = "cpu"

    def __init__(self) -> None:
        super().__init__()
        self._level = 0
        self._files: ModelFiles | None = None
        self._config: EngineConfig | None = None
        self._loaded: LoadedModel | None = None
        self._served: ServedModel | None = None
        self._fast: FastPath | None = None
        # Whether level 3 was found at loading, be it good enough or not.
        self._is_prepared = False

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
        torch.set_num_threads(_num_threads(config))

    def serve_native(
        self,
        fast: FastPath,
        files: ModelFiles,
        config: EngineConfig,
        progress: Progress | None = None,
    ) -> ServedModel:
        """Serve a packed model. Raises LoadError INSUFFICIENT_MEMORY, MemoryError, TokenizerError."""
        report = progress or (lambda stage, fraction: None)
        report("cache", 0.0)
        shape = fast.artifact.shape
        capacity = plan_capacity(
            config,
            shape.max_model_len,
            [LayerShape(shape.num_kv_heads, shape.kv_bytes_per_head(), 0)] * shape.num_layers,
            1,
            self._budget(config, 0),
        )
        cache = self._run_native(fast, capacity, config)
        cache.commit(_num_threads(config))
        report("cache", 1.0)
        loaded = LoadedModel(
            model=None,
            hook=AttentionHook(NoTarget()),
            layers=(),
            files=files,
            tokenizer=Tokenizer.load(files.path),
            dtype=torch.int8,
            device=self.device,
            max_model_len=shape.max_model_len,
        )
        return ServedModel(loaded, capacity)

    def close(self) -> None:
        """End the threads of the fast path, if it runs."""
        if isinstance(self._runner, NativeRunner):
            self._runner.close()
        self._runner = None

    def _serve_packed(
        self, files: ModelFiles, config: EngineConfig, dtype: torch.dtype, progress: Progress
    ) -> ServedModel:
        if (fast := self._fast) is not None:
            self._fast = None
            return self.serve_native(fast, files, config, progress)
        return super()._serve_packed(files, config, dtype, progress)

    def _choose_dtype(self, files: ModelFiles, config: EngineConfig) -> torch.dtype:
        budget = self._budget(config, resident_bytes())
        if budget is None or files.num_parameters * self.default_dtype.itemsize <= budget:
            return self.default_dtype
        # Slower here, but it fits where float32 does not.
        return torch.bfloat16

    def _bytes_per_number(
        self, files: ModelFiles, config: EngineConfig, dtype: torch.dtype
    ) -> tuple[float, float]:
        self._files, self._config = files, config
        if _wants_fast_path(config):
            found = find_fast_path(cache_folder(config), files)
            self._is_prepared = found is not None
            is_asked = config.optimization_level == FAST_LEVEL
            self._fast = found if is_asked or is_qualified(found, files) else None
        if self._fast is None:
            return dtype.itemsize, cache_dtype(_served_level(config), dtype).itemsize
        artifact, shape = self._fast.artifact, self._fast.artifact.shape
        cached = shape.kv_bytes_per_head() / (2 * shape.head_dim)
        return artifact.num_bytes / files.num_parameters, cached

    def _serve(self, loaded: LoadedModel, config: EngineConfig, progress: Progress) -> ServedModel:
        level = _served_level(config)
        if level >= FUSED_LEVEL:
            fuse_projections(loaded.model)
        self._loaded, self._level = loaded, level
        served = super()._serve(loaded, config, progress)
        if level >= INT8_LEVEL:
            quantize(loaded.model)
        self._served = served
        return served

    def _cache_dtype(self, loaded: LoadedModel, config: EngineConfig) -> torch.dtype:
        return cache_dtype(self._level, loaded.dtype)

    @property
    def optimization_level(self) -> int:
        return self._level

    def begin_upgrade(self, switch: Callable[[Callable[[], None]], None]) -> Preparation | None:
        """Prepare the fast path beside serving where it is wanted and missing, then switch to it.

        `switch` calls what it is given between two steps.
        """
        config, files = self._config, self._files
        if config is None or files is None or not _wants_fast_path(config):
            return None
        if self._is_prepared or self._level >= FAST_LEVEL:
            return None
        is_asked = config.optimization_level == FAST_LEVEL
        folder = cache_folder(config)

        def adopt(is_there: bool) -> None:
            fast = find_fast_path(folder, files) if is_there else None
            if fast is not None and (is_asked or is_qualified(fast, files)):
                switch(lambda: self._adopt(fast))

        preparation = Preparation(files.path, folder, _BACKGROUND_THREADS, adopt)
        preparation.start()
        return preparation

    def set_optimization_level(self, level: int) -> None:
        if level == self._level:
            return
        if self._config is None or self._files is None or not self._level < level <= FAST_LEVEL:
            raise LoadError(
                f"optimization level {self._level} cannot become {level}: load the model again",
                ErrorCode.INVALID_INPUT,
            )
        if level == FAST_LEVEL:
            self._adopt(self._prepare_now())
            return
        if self._loaded is None or self._loaded.is_serial:
            raise LoadError(
                "a model that is served one sequence at a time has level 0 alone",
                ErrorCode.INVALID_INPUT,
            )
        if self._level < FUSED_LEVEL:
            fuse_projections(self._loaded.model)
        if level >= INT8_LEVEL:
            quantize(self._loaded.model)
        self._level = level

    def _prepare_now(self) -> FastPath:
        if self._config is None or self._files is None:
            raise LoadError("no model is loaded")
        folder = cache_folder(self._config)
        fast = find_fast_path(folder, self._files)
        if fast is None:
            threads = _num_threads(self._config)
            preparation = Preparation(self._files.path, folder, threads, lambda _: None, nice=0)
            preparation.start()
            preparation.wait()
            fast = find_fast_path(folder, self._files)
        if fast is None:
            raise LoadError(f"{self._files.path}: optimization level {FAST_LEVEL} is not available")
        return fast

    def _adopt(self, fast: FastPath) -> None:
        """Compute with the kernels from the next step on; the model as it was is let go."""
        if self._served is None or self._config is None:
            raise LoadError("no model is loaded")
        self._run_native(fast, self._served.capacity, self._config)
        if self._loaded is not None:
            # Others hold the record of what was loaded; its weights are of no use any more.
            self._loaded.model.to("meta")
        self._loaded = None
        give_back_heap()
        logger.info("optimization level %d from now on", FAST_LEVEL)

    def _run_native(
        self, fast: FastPath, capacity: Capacity, config: EngineConfig
    ) -> NativeKVCache:
        shape = fast.artifact.shape
        cache = NativeKVCache(shape, num_slots=capacity.num_slots, slot_len=capacity.slot_len)
        self._runner = NativeRunner(fast.library, fast.artifact, cache, _num_threads(config))
        self._level = FAST_LEVEL
        return cache

    def get_capabilities(self) -> dict[str, Any]:
        return {
            "device_name": platform.processor() or platform.machine(),
            "num_devices": 1,
            "num_threads": torch.get_num_threads(),
            "instruction_set": torch.backends.cpu.get_cpu_capability(),
            "dtypes": ["float32", "bfloat16", "float16"],
            "memory_free_bytes": available_bytes(),
            "torch": str(torch.__version__),
            "optimization_level": self._level,
        }

    def get_metrics(self) -> dict[str, Any]:
        return {**super().get_metrics(), "resident_bytes": resident_bytes()}


def is_qualified(fast: FastPath | None, files: ModelFiles) -> bool:
    """Whether a fast path is there and good enough to be chosen unasked; a no is logged."""
    if fast is None or fast.artifact.qualification is None:
        return False
    ratio = fast.artifact.qualification.perplexity_ratio
    if ratio <= PERPLEXITY_LIMIT:
        return True
    logger.warning(
        "%s: optimization level %d is %.3f times as perplexed as float32, more than %.2f: it is "
        "used only where it is asked for",
        files.path,
        FAST_LEVEL,
        ratio,
        PERPLEXITY_LIMIT,
    )
    return False


def _wants_fast_path(config: EngineConfig) -> bool:
    """Whether the settings leave room for level 3."""
    is_asked = config.optimization_level in (None, FAST_LEVEL)
    return is_asked and config.dtype == "auto" and config.tensor_parallel == 1


def _served_level(config: EngineConfig) -> int:
    """The level of a model that transformers runs."""
    asked = config.optimization_level
    return _FIRST_LEVEL if asked is None or asked == FAST_LEVEL else asked


def _num_threads(config: EngineConfig) -> int:
    """More threads than cores make every parallel region wait for a thread that does not run."""
    num_cores = len(os.sched_getaffinity(0))
    return min(config.num_threads or num_cores, num_cores)
