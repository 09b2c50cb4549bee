"""How one engine runs: sizes that stay fixed from load to exit."""

from __future__ import annotations

from dataclasses import dataclass

from inference.engine.errors import LoadError
from inference.engine.tiling import TILE
from inference.protocol import Load
from llamagpu.lib.error_codes import ErrorCode

DTYPES = ("auto", "float32", "bfloat16", "float16")
BACKENDS = ("auto", "cuda", "rocm", "cpu")
MAX_LEVEL = 3
MAX_RANKS = 64


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Sizes are tokens or requests. `max_model_len` None takes what the model and memory allow,
    `optimization_level` None the fastest that this device and model have. `max_memory_bytes` bounds
    the process's host memory, None by what is free; `cache_dir` None is the data directory's.
    `tensor_parallel` ranks share every layer; `devices` numbers the GPUs, one per rank, or for one
    rank those that its layers are placed on (none: the first). A step that takes longer than
    `step_timeout` seconds ends the process; up to `max_drafts` tokens are guessed at a time (0: none).

    Raises LoadError naming the setting that is out of range.
    """

    num_slots: int = 32
    max_model_len: int | None = None
    prefill_budget: int = 512
    max_waiting: int = 256
    num_threads: int | None = None
    backend: str = "auto"
    dtype: str = "auto"
    optimization_level: int | None = None
    max_memory_bytes: int | None = None
    cache_dir: str | None = None
    tensor_parallel: int = 1
    devices: tuple[int, ...] = ()
    step_timeout: float = 120.0
    max_drafts: int = 7

    def __post_init__(self) -> None:
        _check_range("num_slots", self.num_slots, 1, 4096)
        _check_range("prefill_budget", self.prefill_budget, TILE, 1_048_576)
        _check_range("max_waiting", self.max_waiting, 0, 1_000_000)
        if self.max_model_len is not None:
            _check_range("max_model_len", self.max_model_len, 2, 1_000_000_000)
        if self.num_threads is not None:
            _check_range("num_threads", self.num_threads, 1, 4096)
        if self.optimization_level is not None:
            _check_range("optimization_level", self.optimization_level, 0, MAX_LEVEL)
        if self.max_memory_bytes is not None:
            _check_range("max_memory_bytes", self.max_memory_bytes, 1, 2**60)
        _check_range("step_timeout", self.step_timeout, 0.1, 86_400.0)
        _check_range("max_drafts", self.max_drafts, 0, 64)
        _check_range("tensor_parallel", self.tensor_parallel, 1, MAX_RANKS)
        for index in self.devices:
            _check_range("devices", index, 0, 1023)
        if len(set(self.devices)) < len(self.devices):
            raise LoadError("devices names one device twice", ErrorCode.INVALID_INPUT)
        if self.tensor_parallel > 1 and self.devices and len(self.devices) != self.tensor_parallel:
            raise LoadError(
                f"devices has {len(self.devices)} numbers for tensor_parallel {self.tensor_parallel}",
                ErrorCode.INVALID_INPUT,
            )
        _check_choice("backend", self.backend, BACKENDS)
        _check_choice("dtype", self.dtype, DTYPES)

    @classmethod
    def from_load(cls, load: Load) -> EngineConfig:
        """The settings of a `Load` command, where 0 stands for "choose"."""
        return cls(
            num_slots=load.num_slots,
            max_model_len=load.max_model_len or None,
            prefill_budget=load.prefill_budget,
            max_waiting=load.max_waiting,
            num_threads=load.num_threads or None,
            backend=load.backend,
            dtype=load.dtype,
            optimization_level=None if load.optimization_level < 0 else load.optimization_level,
            max_memory_bytes=load.max_memory_bytes or None,
            cache_dir=load.cache_dir or None,
            tensor_parallel=load.tensor_parallel,
            devices=load.devices,
            step_timeout=load.step_timeout,
            max_drafts=load.max_drafts,
        )


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise LoadError(f"{name} is {value}, outside {low} to {high}", ErrorCode.INVALID_INPUT)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise LoadError(
            f"{name} is {value!r}, not one of {', '.join(choices)}", ErrorCode.INVALID_INPUT
        )
