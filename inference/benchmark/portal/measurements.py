"""What the portal adds to a request: times and rates as a client sees them, errors counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from inference.benchmark.portal.http_client import Connection
from inference.benchmark.portal.own_stack import OwnStack
from llamagpu.lib.percentiles import percentiles

_PATH, _STREAM_PATH = "/api/infer", "/api/stream_infer"
_BODY = {"text": "What does the portal cost?", "max_tokens": 1}
_MILLION = 1_000_000


class NothingMeasuredError(Exception):
    """A series has no values, so its figures would say nothing."""


@dataclass(slots=True)
class Figure:
    """A series of calls. Times in milliseconds, `rate` in calls a second, `cpu` in ms a call."""

    name: str
    count: int
    errors: int
    median: float | None = None
    p95: float | None = None
    p99: float | None = None
    rate: float | None = None
    cpu: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class PortalFigures:
    """Of one web server. Memory is the web process's, proportional share, in bytes."""

    web_server: str
    idle_memory: int
    memory_after: int
    figures: list[Figure]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Work:
    """How much is measured."""

    calls: int = 500
    callers: int = 32
    streams: int = 100
    tokens: int = 300
    pause_ms: int = 50


def measure(stack: OwnStack, web_server: str, work: Work, tell: Callable[[str], None]) -> Any:
    """All series, one after the other, on a stack with the instant engine.

    Raises NothingMeasuredError.
    """
    idle = _memory_of(stack.web_pid)
    figures = []
    tell("warming up")
    asyncio.run(_sequential(stack, max(20, work.calls // 10)))
    tell(f"{work.calls} calls one after another")
    figures.append(_with_cpu(stack, lambda: asyncio.run(_sequential(stack, work.calls))))
    tell(f"{work.callers} callers")
    calls = work.calls * 4
    figures.append(_with_cpu(stack, lambda: asyncio.run(_side_by_side(stack, work.callers, calls))))
    tell(f"{work.streams} streams")
    figures.append(_with_cpu(stack, lambda: asyncio.run(measure_streams(stack, work))))
    return PortalFigures(web_server, idle, _memory_of(stack.web_pid), figures)


def _with_cpu(stack: OwnStack, series: Callable[[], Figure]) -> Figure:
    """The figure with the processor time that web process and worker took for each of its calls."""
    processes = {"web": psutil.Process(stack.web_pid), "worker": psutil.Process(stack.worker_pid)}
    before = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
    figure = series()
    for name, process in processes.items():
        spent = sum(process.cpu_times()[:2]) - before[name]
        figure.cpu[name] = spent * 1000 / max(1, figure.count)
    return figure


async def _sequential(stack: OwnStack, calls: int) -> Figure:
    connection = Connection(stack.port, stack.key)
    taken, errors = await _call_again_and_again(connection, calls)
    await connection.close()
    return _figure("one caller, unstreamed", taken, errors)


async def _side_by_side(stack: OwnStack, callers: int, calls: int) -> Figure:
    connections = [Connection(stack.port, stack.key) for _ in range(callers)]
    started = time.perf_counter()
    each = calls // callers
    results = await asyncio.gather(
        *(_call_again_and_again(connection, each) for connection in connections)
    )
    elapsed = time.perf_counter() - started
    for connection in connections:
        await connection.close()
    taken = [value for values, _ in results for value in values]
    figure = _figure(f"{callers} callers, unstreamed", taken, sum(count for _, count in results))
    figure.rate = len(taken) / elapsed
    return figure


async def _call_again_and_again(connection: Connection, calls: int) -> tuple[list[float], int]:
    taken, errors = [], 0
    for _ in range(calls):
        started = time.perf_counter()
        answer = await connection.post(_PATH, _BODY)
        taken.append((time.perf_counter() - started) * 1000)
        errors += answer.status != 200
    return taken, errors


async def measure_streams(stack: OwnStack, work: Work) -> Figure:
    """The time from the engine's sending of a token to its arrival at the client.

    Only tokens count that were sent while all streams were open: before, the portal is busy with the
    opening of the others.
    """
    results = await asyncio.gather(
        *(_one_stream(stack, work, number) for number in range(work.streams))
    )
    errors = sum(1 for _, is_whole in results if not is_whole)
    arrivals = [found for found, _ in results if found]
    all_open = max((found[0][0] for found in arrivals), default=0)
    first_end = min((found[-1][0] for found in arrivals), default=0)
    if all_open > first_end:
        raise NothingMeasuredError(
            f"{work.streams} streams of {work.tokens} tokens were never open at once: "
            "ask for more tokens, or for fewer streams"
        )
    delays = [
        (arrived_at - sent_at) / _MILLION
        for found in arrivals
        for sent_at, arrived_at in found
        if all_open <= sent_at <= first_end
    ]
    return _figure(f"{work.streams} streams, a token's way", delays, errors)


async def _one_stream(
    stack: OwnStack, work: Work, number: int
) -> tuple[list[tuple[int, int]], bool]:
    """When each token was sent and when it arrived, in nanoseconds, and whether all came."""
    # They begin over one pause, as callers do, and not all in the same moment.
    await asyncio.sleep(number * work.pause_ms / 1000 / work.streams)
    connection = Connection(stack.port, stack.key)
    body = {**_BODY, "max_tokens": work.tokens, "seed": work.pause_ms, "timeout": 300}
    moments: list[tuple[int, int]] = []
    is_whole = False
    try:
        async for piece in connection.stream(_STREAM_PATH, body):
            now = time.monotonic_ns()
            moments.extend((sent_at, now) for sent_at in _moments_in(piece))
            is_whole = is_whole or b'"is_complete": true' in piece
    except (OSError, RuntimeError, asyncio.IncompleteReadError):
        is_whole = False
    await connection.close()
    return moments, is_whole and len(moments) == work.tokens


def _moments_in(piece: bytes) -> list[int]:
    """The tokens of a piece of a stream: each is the moment when the engine sent it."""
    moments: list[int] = []
    for line in piece.split(b"\n"):
        head, _, rest = line.partition(b'"token": "')
        if head.startswith(b"data:") and rest:
            moments.extend(int(word) for word in rest.partition(b'"')[0].split())
    return moments


def _figure(name: str, values: list[float], errors: int) -> Figure:
    if not values:
        raise NothingMeasuredError(f"{name}: nothing was measured ({errors} errors)")
    found = percentiles(values)
    return Figure(name, len(values), errors, found["p50"], found["p95"], found["p99"])


def _memory_of(pid: int) -> int:
    return int(psutil.Process(pid).memory_full_info().pss)
