"""How fast a device copies, decodes and reads prompts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from inference.engine.memory import resident_bytes
from inference.engine.paged.rows import PagedRows
from inference.engine.paged.serving import PagedServing

_COPY_BYTES = {"cuda": 2 * 1024**3, "cpu": 128 * 1024**2}
_NUM_COPIES = 8
_NUM_WARM_UPS = 3


@dataclass(frozen=True, slots=True)
class DecodeSpeed:
    """`floor_share` is how near the time of a step comes to merely reading weights and cache."""

    batch: int
    tokens_per_second: float
    step_seconds: float
    floor_share: float


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_bandwidth(device: torch.device) -> float:
    """Bytes per second that a large copy reads and writes; the best of several."""
    size = _COPY_BYTES[device.type]
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = min(_timed(lambda: target.copy_(source), device) for _ in range(_NUM_COPIES))
    return 2 * size / best


def measure_decode(
    serving: PagedServing,
    *,
    batch: int,
    context: int,
    num_steps: int,
    bytes_per_token: int,
    weight_bytes: int,
    bandwidth: float,
) -> DecodeSpeed:
    """`batch` sequences that hold `context` tokens each decode `num_steps` more, greedily.

    What they hold is zeros: it costs the same to read. Each step brings its tokens back to the host,
    as the engine does. Raises RuntimeError where the cache has no room.
    """
    accounting, runner = serving.accounting, serving.runner
    places = [accounting.allocate(context + num_steps + _NUM_WARM_UPS) for _ in range(batch)]
    try:
        taken = [place.slot for place in places if place is not None]
        if len(taken) < batch:
            raise RuntimeError(f"the cache has no room for {batch} sequences of {context} tokens")
        tables = [list(accounting.table(slot)) for slot in taken]
        tokens = [1] * batch

        def step(position: int) -> None:
            rows = _decode_rows(tokens, position, tables, accounting.page)
            tokens[:] = runner.compute(rows).argmax(dim=-1).tolist()

        for index in range(_NUM_WARM_UPS):
            step(context + index)
        started = time.perf_counter()
        for index in range(num_steps):
            step(context + _NUM_WARM_UPS + index)
        seconds = (time.perf_counter() - started) / num_steps
    finally:
        for place in places:
            if place is not None:
                accounting.free(place.slot)
    floor = (weight_bytes + batch * context * bytes_per_token) / bandwidth
    return DecodeSpeed(batch, batch / seconds, seconds, floor / seconds)


def measure_prefill(serving: PagedServing, num_tokens: int) -> float:
    """Tokens per second of one prompt chunk; the best of a few."""
    accounting, runner = serving.accounting, serving.runner
    place = accounting.allocate(num_tokens)
    if place is None:
        raise RuntimeError(f"the cache has no room for a prompt of {num_tokens} tokens")
    table, page = list(accounting.table(place.slot)), accounting.page
    rows = PagedRows(
        token_ids=[1] * num_tokens,
        positions=list(range(num_tokens)),
        places=[table[index // page] * page + index % page for index in range(num_tokens)],
        logit_rows=[num_tokens - 1],
        counts=[num_tokens],
        lengths=[num_tokens],
        tables=[table],
        num_logits=1,
    )
    try:
        best = min(_timed(lambda: runner.compute(rows), runner.device) for _ in range(4))
    finally:
        accounting.free(place.slot)
    return num_tokens / best


def peak_bytes(device: torch.device) -> int:
    """The most memory that was allocated on a GPU so far; on the CPU what is resident now."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resident_bytes()


def _decode_rows(tokens: list[int], position: int, tables: list[list[int]], page: int) -> PagedRows:
    batch = len(tokens)
    num_pages = position // page + 1
    return PagedRows(
        token_ids=list(tokens),
        positions=[position] * batch,
        places=[table[position // page] * page + position % page for table in tables],
        logit_rows=list(range(batch)),
        counts=[1] * batch,
        lengths=[position + 1] * batch,
        tables=[table[:num_pages] for table in tables],
        num_decodes=batch,
        num_logits=batch,
    )


def _timed(action: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    action()
    synchronize(device)
    return time.perf_counter() - started
