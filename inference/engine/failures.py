"""What an exception out of a step means: short of memory, a broken device, or a mere failure."""

from __future__ import annotations

import torch

from inference.engine.errors import DeviceLost, EngineError
from llamagpu.lib.error_codes import ErrorCode

# What allocators say where they have no exception type of their own: torch's on the CPU, oneDNN, the
# CUDA libraries.
_ALLOCATION = (
    "not enough memory", "can't allocate memory", "cannot allocate memory", "alloc_cpu",
    "out of memory", "out_of_memory", "bad_alloc", "alloc_failed",
)  # fmt: skip
# After these a CUDA or HIP context answers every call with the same error.
_LOST_DEVICE = (
    "device-side assert",
    "illegal memory access",
    "unspecified launch failure",
    "uncorrectable ecc",
    "cuda error: unknown error",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the host or on the device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _ALLOCATION)


def explain_failure(error: BaseException) -> EngineError:
    """The typed error that the requests of a failed step get; details stay in the log."""
    if isinstance(error, EngineError):
        return error
    if is_out_of_memory(error):
        return EngineError(
            "the engine ran out of memory while computing this request",
            ErrorCode.INSUFFICIENT_MEMORY,
        )
    text = str(error).lower()
    if isinstance(error, RuntimeError) and any(sign in text for sign in _LOST_DEVICE):
        return DeviceLost("the accelerator failed; the engine restarts")
    return EngineError("the engine failed while computing this request")
