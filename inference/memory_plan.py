"""What a model will need in memory, from its headers alone (no torch), and how a cache is sized.

Web, worker and `manage.py doctor` ask before anything is loaded; the engine uses the same
arithmetic when it loads, so that what is told and what is done agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference.model_files import ModelFiles
from llamagpu.lib.memory import format_gib

# What an engine process holds besides weights and cache: the libraries' code and data (measured:
# 0.35 GB resident after loading a tiny model), allocator slack, tokenizer tables.
PROCESS_BYTES = 400 * 1024**2
# The most compact forms that an engine serves: int8 with its scales, keys and values in half precision.
LEAST_WEIGHT_BYTES, LEAST_KV_BYTES = 1.05, 2.0
# Numbers per row and channel that a forward pass keeps at once: the residual stream, projections and
# the widened feed-forward, as float32.
_ACTIVATIONS_PER_CHANNEL = 20
# Copies of the logits (float32, two of them float64) that sampling makes.
_LOGIT_BYTES = 4 + 4 + 8 + 8
# Of the memory that weights leave: an asked length may take most of it, and an open one half, since
# further models shall find room too.
_ASKED_SHARE, _OPEN_SHARE = 0.8, 0.5
# An open length is halved down to this before slots are given up, then slots down to the second
# figure, then the length down to the third, then the rest of the slots.
_GOOD_LENGTH, _GOOD_SLOTS, SHORTEST_LENGTH = 4096, 8, 1024


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes by purpose, for `num_slots` sequences of `context_length` tokens."""

    weights: int
    kv_cache: int
    working: int
    num_slots: int
    context_length: int

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.working

    def describe(self, free: int | None) -> str:
        """Like `needs 6.1 of 7.8 GiB free: weights 4.0, KV cache 1.8 (32 x 2048 tokens), ...`."""
        available = "" if free is None else f"of {format_gib(free)} GiB free"
        total = f"needs {format_gib(self.total)} {available or 'GiB'}"
        return (
            f"{total}: weights {format_gib(self.weights)}, KV cache {format_gib(self.kv_cache)} "
            f"({self.num_slots} x {self.context_length} tokens), working space "
            f"{format_gib(self.working)}"
        )


def estimate_memory(
    files: ModelFiles,
    *,
    num_slots: int,
    context_length: int | None = None,
    weight_bytes_per_parameter: float = 4.0,
    kv_dtype_bytes: float = 4.0,
    prefill_budget: int = 512,
) -> MemoryEstimate:
    """What serving `num_slots` sequences of `context_length` tokens (None: the model's) takes.

    The defaults are plain float32. Quantized weights count what they take with their scales, e.g.
    1.03 bytes for int8 with one scale a channel.
    """
    length = min(context_length or files.max_model_len, files.max_model_len)
    rows = min(prefill_budget, length) + num_slots
    activations = rows * files.hidden_size * _ACTIVATIONS_PER_CHANNEL * 4
    logits = num_slots * files.vocab_size * _LOGIT_BYTES
    return MemoryEstimate(
        weights=int(files.num_parameters * weight_bytes_per_parameter),
        kv_cache=int(files.kv_bytes_per_token(1) * kv_dtype_bytes) * length * num_slots,
        working=PROCESS_BYTES + activations + logits,
        num_slots=num_slots,
        context_length=length,
    )


def least_memory(
    files: ModelFiles,
    *,
    context_length: int | None = None,
    weight_bytes_per_parameter: float = 4.0,
    kv_dtype_bytes: float = 4.0,
) -> MemoryEstimate:
    """The least with which the model is served: one sequence, an open length cut to the shortest."""
    return estimate_memory(
        files,
        num_slots=1,
        context_length=context_length or SHORTEST_LENGTH,
        weight_bytes_per_parameter=weight_bytes_per_parameter,
        kv_dtype_bytes=kv_dtype_bytes,
    )


def cache_budget(free_bytes: int, *, is_length_asked: bool) -> int:
    """Of the bytes that are free beside the weights, those that the cache may come to hold."""
    return int(free_bytes * (_ASKED_SHARE if is_length_asked else _OPEN_SHARE))


def size_cache(
    *, num_slots: int, asked: int | None, model_len: int, bytes_per_token: int, budget: int
) -> tuple[int, int]:
    """(slots, length) whose product fits `budget` bytes; 0 slots where not even one does.

    An asked length stays and slots give way. An open length and the slots give way in turns.
    """
    length = min(asked or model_len, model_len)
    if bytes_per_token == 0:
        return num_slots, length

    def slots_for(tokens: int) -> int:
        return min(num_slots, budget // (tokens * bytes_per_token))

    if asked is None:
        while length > _GOOD_LENGTH and slots_for(length) < num_slots:
            length = max(_GOOD_LENGTH, -(-length // 2))
        while length > SHORTEST_LENGTH and slots_for(length) < min(num_slots, _GOOD_SLOTS):
            length = max(SHORTEST_LENGTH, -(-length // 2))
    return slots_for(length), length


def planned_bytes(
    files: ModelFiles, *, num_slots: int, asked_length: int | None, limit: int | None
) -> int:
    """What an engine that may hold `limit` bytes will reserve, in plain float32: an upper bound."""
    wish = estimate_memory(files, num_slots=num_slots, context_length=asked_length)
    if limit is None:
        return wish.total
    rest = max(0, limit - wish.weights - wish.working)
    budget = cache_budget(rest, is_length_asked=asked_length is not None)
    return min(wish.total, wish.weights + wish.working + budget)
