"""Vectors of texts, as an upstream answers them."""

from __future__ import annotations

import math
import struct

import msgspec

from inference.protocol import Finished, FinishReason, Submit, Timings, Usage
from inference.worker.remote.answer import UsageTold, estimated_prompt, usage_of
from inference.worker.remote.failures import garbage

MAX_LENGTH = 65_536
# Digits, sign, exponent and comma of a number.
_NUMBER_BYTES = 32


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: UsageTold | None = None


def most_bytes(request: Submit) -> int:
    """No answer to `request` is longer."""
    return 65_536 + len(request.prompt.inputs) * MAX_LENGTH * _NUMBER_BYTES


def read_vectors(body: bytes, request: Submit, prompt_bytes: int, timings: Timings) -> Finished:
    """One vector for each input, in their order. Raises RemoteFailure for anything else."""
    try:
        told = msgspec.json.decode(body, type=_Vectors)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise garbage() from error
    vectors = sorted(told.data, key=lambda vector: vector.index)
    if [vector.index for vector in vectors] != list(range(len(request.prompt.inputs))):
        raise garbage()
    lengths = {len(vector.embedding) for vector in vectors}
    if len(lengths) != 1 or not 0 < lengths.pop() <= MAX_LENGTH:
        raise garbage()
    usage = usage_of(told.usage) if told.usage else None
    return Finished(
        request_id=request.request_id,
        text="",
        finish_reason=FinishReason.STOP,
        usage=usage or Usage(estimated_prompt(prompt_bytes), is_estimated=True),
        timings=timings,
        embeddings=tuple(_packed(vector.embedding) for vector in vectors),
    )


def _packed(numbers: list[float]) -> bytes:
    try:
        packed = struct.pack(f"<{len(numbers)}f", *numbers)
    except (OverflowError, struct.error) as error:
        raise garbage() from error
    if not all(map(math.isfinite, numbers)):
        raise garbage()
    return packed
