"""The compiled kernels as Python sees them: structures, functions, and who keeps what alive.

The structures mirror `source/panels.h` and `source/model.h` field by field; `KernelLibrary` refuses a
library whose sizes differ. Calls release the interpreter's lock while they compute.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_float, c_int32, c_int64, c_void_p
from pathlib import Path
from typing import Any

import torch

GROUP_OF_BITS = {4: 32, 8: 64}
PANEL = 64
TABLE_TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
ACTIVATIONS = {"silu": 0, "gelu_pytorch_tanh": 1, "gelu_new": 1}

# `lg::Fine`: how many bits a row's activations keep.
PLAIN, FINE, REPEATED = 0, 1, 2


class LinearStruct(ctypes.Structure):
    """`lg::Linear`."""

    _fields_ = [
        ("bits", c_int32), ("n", c_int32), ("k", c_int32), ("n_real", c_int32),
        ("factor", c_float), ("reserved", c_int32), ("data", c_void_p), ("bias", c_void_p),
    ]  # fmt: skip


class LayerStruct(ctypes.Structure):
    """`lg::Layer`."""

    _fields_ = [
        ("qkv", LinearStruct), ("output", LinearStruct),
        ("gate_up", LinearStruct), ("down", LinearStruct),
        ("norm_before_attention", c_void_p), ("norm_after_attention", c_void_p),
        ("norm_before_mlp", c_void_p), ("norm_after_mlp", c_void_p),
        ("query_norm", c_void_p), ("key_norm", c_void_p),
        ("cosines", c_void_p), ("sines", c_void_p),
        ("window", c_int32), ("reserved", c_int32),
    ]  # fmt: skip


class ModelStruct(ctypes.Structure):
    """`lg::Model`."""

    _fields_ = [
        ("num_layers", c_int32), ("hidden", c_int32), ("intermediate", c_int32),
        ("vocab", c_int32), ("num_heads", c_int32), ("num_kv_heads", c_int32),
        ("head_dim", c_int32), ("rotary_dim", c_int32), ("num_blocks", c_int32),
        ("activation", c_int32), ("table_type", c_int32), ("wide_qk_norm", c_int32),
        ("epsilon", c_float), ("query_scale", c_float), ("softcap", c_float),
        ("logit_softcap", c_float), ("embedding_factor", c_float), ("residual_factor", c_float),
        ("logit_factor", c_float), ("reserved", c_int32), ("embeddings", c_void_p),
        ("final_norm", c_void_p), ("layers", POINTER(LayerStruct)), ("cache", c_void_p),
        ("head", LinearStruct),
    ]  # fmt: skip


class StepStruct(ctypes.Structure):
    """`lg::Step`."""

    _fields_ = [
        ("num_rows", c_int32), ("num_logit_rows", c_int32), ("tokens", c_void_p),
        ("positions", c_void_p), ("slots", c_void_p), ("fine", c_void_p), ("logit_rows", c_void_p),
        ("logits", c_void_p), ("hidden_rows", c_void_p), ("hidden", c_void_p),
        ("num_hidden_rows", c_int32), ("reserved", c_int32),
    ]  # fmt: skip


_STRUCTURES = (LinearStruct, LayerStruct, ModelStruct, StepStruct)


class KernelError(Exception):
    """The library cannot be used. The message says why."""


class KernelLibrary:
    """A loaded shared library. Raises KernelError where it is not the one this code was written for."""

    def __init__(self, file: Path) -> None:
        try:
            library = ctypes.CDLL(str(file))
        except OSError as error:
            raise KernelError(f"{file}: cannot be loaded: {error}") from error
        sizes = (c_int32 * len(_STRUCTURES))()
        library.lg_sizes(sizes)
        if list(sizes) != [ctypes.sizeof(kind) for kind in _STRUCTURES]:
            raise KernelError(f"{file}: its structures have other sizes: {list(sizes)}")
        library.lg_open.argtypes = [POINTER(ModelStruct), c_int32]
        library.lg_open.restype = c_void_p
        library.lg_close.argtypes = [c_void_p]
        library.lg_close.restype = None
        library.lg_step.argtypes = [c_void_p, POINTER(StepStruct)]
        library.lg_step.restype = c_int32
        library.lg_packed_bytes.argtypes = [POINTER(LinearStruct)]
        library.lg_packed_bytes.restype = c_int64
        library.lg_pack.argtypes = [
            POINTER(LinearStruct), c_void_p, c_int32, c_void_p, c_int32, c_void_p, c_int32,
        ]  # fmt: skip
        library.lg_pack.restype = c_int64
        self._library = library

    def packed_bytes(self, linear: LinearStruct) -> int:
        """Bytes that the weights of `linear` take when packed."""
        return int(self._library.lg_packed_bytes(byref(linear)))

    def pack(
        self,
        linear: LinearStruct,
        weights: torch.Tensor,  # [rows, inputs] float32, contiguous
        channels: torch.Tensor,  # [rows] int32: the output channel of each row
        out: torch.Tensor,  # uint8, `packed_bytes` long
        num_threads: int,
    ) -> int:
        """Quantize `weights` into `out`; how many groups could not be held exactly in 4 bits."""
        return int(
            self._library.lg_pack(
                byref(linear),
                weights.data_ptr(),
                weights.shape[1],
                channels.data_ptr(),
                weights.shape[0],
                out.data_ptr(),
                num_threads,
            )
        )

    def open(self, model: ModelStruct, num_threads: int) -> KernelSession:
        """A session with threads of its own. Raises MemoryError."""
        handle = self._library.lg_open(byref(model), num_threads)
        if not handle:
            raise MemoryError("the kernels could not reserve their buffers")
        return KernelSession(self._library, handle)


class KernelSession:
    """Computes steps of one model; the caller keeps all memory that the model names alive."""

    def __init__(self, library: Any, handle: int) -> None:
        self._library = library
        self._handle: int | None = handle

    def step(self, step: StepStruct) -> None:
        """Compute one step. Raises MemoryError where a buffer could not grow."""
        if self._library.lg_step(self._handle, byref(step)) != 0:
            raise MemoryError("not enough memory for the step's buffers")

    def close(self) -> None:
        """End the session's threads. A second call does nothing."""
        if self._handle is not None:
            self._library.lg_close(self._handle)
            self._handle = None
