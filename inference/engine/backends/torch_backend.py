"""What the three backends share, since torch hides most of the difference between devices."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from inference.engine.backends.base import BaseBackend, ServedModel
from inference.engine.capacity import check_fit, plan_capacity, plan_serial_capacity
from inference.engine.config import EngineConfig
from inference.engine.errors import EngineError, LoadError, NotPackableError
from inference.engine.kv_cache.slotted import SlottedKVCache
from inference.engine.loading import LoadedModel, Progress, load_model, load_serial_model
from inference.engine.memory import resident_bytes
from inference.engine.model_runner import ModelRunner
from inference.engine.runner import Runner
from inference.engine.self_test import check_attention, check_serial
from inference.engine.serial_runner import SerialAccounting, SerialRunner
from inference.engine.step_plan import StepPlan
from inference.model_files import ModelFiles, ModelFilesError, read_model_files
from llamagpu.lib.error_codes import ErrorCode

logger = logging.getLogger(__name__)

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class TorchBackend(BaseBackend):
    """Loads through transformers, runs through `ModelRunner`."""

    def __init__(self) -> None:
        self._rejection: str | None = None
        self._runner: Runner | None = None
        self._infer_seconds = 0.0
        self._num_steps = 0

    @property
    def rejection(self) -> str | None:
        return self._rejection

    def initialize(self) -> bool:
        self._rejection = self._find_obstacle()
        if self._rejection is None:
            self._rejection = self._try_compute()
        return self._rejection is None

    @abstractmethod
    def _find_obstacle(self) -> str | None:
        """Why this device cannot be used, as far as can be known without using it."""

    @abstractmethod
    def _free_bytes(self) -> int | None:
        """Memory for weights and cache that is free now; None where nobody knows."""

    def _budget(self, config: EngineConfig, held_bytes: int) -> int | None:
        """Bytes that are free, and on the CPU those of `held_bytes` that this process holds now.

        `max_memory_bytes` of the settings bounds host memory alone.
        """
        free = self._free_bytes()
        if self.device.type != "cpu":
            return free
        if config.max_memory_bytes is not None:
            rest = config.max_memory_bytes - resident_bytes()
            free = rest if free is None else min(free, rest)
        return free if free is None else max(0, free + held_bytes)

    @abstractmethod
    def _prepare(self, config: EngineConfig) -> None:
        """Process-wide settings before loading."""

    def load_model(
        self,
        model_path: str,
        config: EngineConfig | None = None,
        progress: Progress | None = None,
    ) -> ServedModel:
        settings = config or EngineConfig()
        report = progress or (lambda stage, fraction: None)
        path = Path(model_path)
        self._prepare(settings)
        try:
            files = read_model_files(path)
            dtype = _DTYPES.get(settings.dtype) or self._choose_dtype(files, settings)
            weight_bytes, kv_bytes = self._bytes_per_number(files, settings, dtype)
            check_fit(
                files,
                settings,
                self._budget(settings, resident_bytes()),
                weight_bytes_per_parameter=weight_bytes / self._num_parts(settings),
                kv_dtype_bytes=kv_bytes / self._num_parts(settings),
            )
            if settings.tensor_parallel > 1:
                return self._serve_ranks(files, settings, dtype, report)
            try:
                return self._serve_packed(files, settings, dtype, report)
            except NotPackableError as refusal:
                # The model that was refused is gone with this block.
                reason = refusal.message
            return self._serve_serially(path, settings, dtype, reason, report)
        except ModelFilesError as error:
            raise LoadError(str(error)) from error
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise LoadError(
                f"{path}: not enough memory: {error}", ErrorCode.INSUFFICIENT_MEMORY
            ) from error

    def _serve_packed(
        self, files: ModelFiles, config: EngineConfig, dtype: torch.dtype, progress: Progress
    ) -> ServedModel:
        placement = self._placement(files, config)
        loaded = load_model(files.path, self.device, dtype, progress, placement)
        return self._serve(loaded, config, progress)

    def _choose_dtype(self, files: ModelFiles, config: EngineConfig) -> torch.dtype:
        """The type of the weights where the settings say `auto`."""
        return self.default_dtype

    def _bytes_per_number(
        self, files: ModelFiles, config: EngineConfig, dtype: torch.dtype
    ) -> tuple[float, float]:
        """Bytes of memory per weight, and per number in the cache."""
        return dtype.itemsize, dtype.itemsize

    def _num_parts(self, config: EngineConfig) -> int:
        """Over how many devices weights and cache are spread."""
        return 1

    def _placement(self, files: ModelFiles, config: EngineConfig) -> dict[str, Any] | None:
        """What `from_pretrained` is told where one device does not hold the whole model."""
        return None

    def _serve_ranks(
        self, files: ModelFiles, config: EngineConfig, dtype: torch.dtype, progress: Progress
    ) -> ServedModel:
        """Load and serve through several ranks, of which this process is the first."""
        from inference.engine.parallel.serving import serve_ranks

        ranked, runner = serve_ranks(files, config, self.device, dtype, progress)
        self._runner = runner
        serving = ranked.serving
        return ServedModel(ranked.loaded, serving.capacity, serving.accounting)

    def _serve(self, loaded: LoadedModel, config: EngineConfig, progress: Progress) -> ServedModel:
        progress("cache", 0.0)
        shapes = [layer.shape for layer in loaded.layers]
        dtype = self._cache_dtype(loaded, config)
        capacity = plan_capacity(
            config, loaded.max_model_len, shapes, dtype.itemsize, self._budget(config, 0)
        )
        cache = SlottedKVCache(
            shapes,
            num_slots=capacity.num_slots,
            slot_len=capacity.slot_len,
            dtype=dtype,
            device=loaded.device,
        )
        runner = ModelRunner(loaded.model, loaded.hook, cache, loaded.device)
        progress("cache", 1.0)
        progress("self-test", 0.0)
        check_attention(loaded, runner)
        progress("self-test", 1.0)
        self._runner = runner
        return ServedModel(loaded, capacity)

    def _cache_dtype(self, loaded: LoadedModel, config: EngineConfig) -> torch.dtype:
        """The type of keys and values."""
        return loaded.dtype

    def _serve_serially(
        self,
        path: Path,
        config: EngineConfig,
        dtype: torch.dtype,
        reason: str,
        progress: Progress,
    ) -> ServedModel:
        """Serve one sequence at a time what packed rows cannot serve, because of `reason`."""
        logger.warning("%s: served one sequence at a time", reason)
        loaded = load_serial_model(path, self.device, dtype, progress, reason)
        progress("self-test", 0.0)
        runner = SerialRunner(loaded.model, self.device, loaded.files.vocab_size)
        capacity = plan_serial_capacity(
            config, loaded.files, dtype.itemsize, self._budget(config, 0)
        )
        check_serial(loaded, runner)
        progress("self-test", 1.0)
        self._runner = runner
        return ServedModel(loaded, capacity, SerialAccounting(capacity.max_model_len))

    @property
    def supports_drafts(self) -> bool:
        return bool(getattr(self._runner, "supports_drafts", False))

    @property
    def rounds_alike(self) -> bool:
        return bool(getattr(self._runner, "rounds_alike", False))

    @property
    def hidden_size(self) -> int | None:
        return self._runner.hidden_size if self._runner is not None else None

    @property
    def hidden(self) -> torch.Tensor:
        if self._runner is None:
            raise EngineError("no model is loaded")
        return self._runner.hidden

    @property
    def free_bytes(self) -> int | None:
        return self._free_bytes()

    def infer(self, inputs: StepPlan) -> torch.Tensor:
        if self._runner is None:
            raise EngineError("no model is loaded")
        started = time.perf_counter()
        logits = self._runner.run(inputs)
        self._infer_seconds += time.perf_counter() - started
        self._num_steps += 1
        return logits

    def scrub(self, slot: int, num_tokens: int) -> None:
        if self._runner is not None:
            self._runner.cache.scrub(slot, num_tokens)

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> None:
        if self._runner is not None:
            self._runner.cache.copy_prefix(source, target, num_tokens)

    def release_memory(self, idle_slots: Sequence[int]) -> int:
        return self._runner.cache.release(idle_slots) if self._runner is not None else 0

    def get_metrics(self) -> dict[str, Any]:
        cache_bytes = self._runner.cache.num_bytes if self._runner is not None else 0
        return {
            "steps": self._num_steps,
            "infer_seconds": self._infer_seconds,
            "kv_cache_reserved_bytes": cache_bytes,
        }

    def _try_compute(self) -> str | None:
        """Why a small product on the device fails or is wrong; None where it is right."""
        try:
            ones = torch.ones(8, 8, device=self.device, dtype=self.default_dtype)
            total = float((ones @ ones).sum())
        except (RuntimeError, MemoryError) as error:
            return f"a test computation failed: {error}"
        return None if total == 512.0 else f"a test computation gave {total} instead of 512"
