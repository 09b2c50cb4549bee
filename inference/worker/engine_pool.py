"""The engines of this worker: one process per model, started at need, brought back when they die."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from inference.presence import EngineReport
from inference.protocol import Load, Stats
from inference.states import ModelState
from inference.wire import to_builtins
from inference.worker.engine_process import (
    ENGINE_COMMAND,
    EngineDiedError,
    EngineLoadError,
    EngineProcess,
)
from inference.worker.memory_share import grant
from llamagpu.lib.error_codes import ErrorCode

logger = logging.getLogger(__name__)

#: Loads a big model from a slow disk; a job's own deadline is usually shorter.
LOAD_TIMEOUT = 600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_STABLE_AFTER = 60.0
_DEATH_POLL = 0.1
_START_RETRY = 5.0
_MAX_CRASHES = 5


@dataclass(slots=True)
class _Seat:
    """The place of one model: its process of now and the crashes that led here."""

    process: EngineProcess
    crashes: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_CRASHES))
    restarts: int = 0
    retry_at: float = 0.0


class EnginePool:
    """`load_for(slug)` says what to load for a model; it raises EngineLoadError for an unknown one.

    All engines together may hold `memory_limit` bytes of host memory.
    """

    def __init__(
        self,
        load_for: Callable[[str], Load],
        command: Sequence[str] = ENGINE_COMMAND,
        memory_limit: int | None = None,
    ) -> None:
        self._load_for = load_for
        self._memory_limit = memory_limit
        self._command = command
        self._seats: dict[str, _Seat] = {}
        self._kept: set[str] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    def keep(self, slug: str) -> None:
        """Load a model now and bring it back whenever its process dies."""
        with self._lock:
            self._kept.add(slug)
        self._revive(slug)

    def get(self, slug: str, timeout: float = LOAD_TIMEOUT) -> EngineProcess:
        """The engine of a model, ready. Raises EngineLoadError.

        One that could not load stays failed for a pause; one that died is waited for.
        """
        give_up_at = time.monotonic() + timeout
        while True:
            process = self._ensure(slug)
            try:
                process.wait_ready(max(0.0, give_up_at - time.monotonic()))
                return process
            except EngineDiedError as error:
                if time.monotonic() >= give_up_at:
                    message = f"The engine of '{slug}' died and is not back in time."
                    raise EngineLoadError(ErrorCode.MODEL_LOAD_FAILED, message) from error
                time.sleep(_DEATH_POLL)

    def ask_stats(self) -> None:
        for process in self._processes():
            process.ask_stats()

    def reports(self) -> tuple[EngineReport, ...]:
        with self._lock:
            seats = list(self._seats.items())
        return tuple(_report(slug, seat) for slug, seat in seats)

    def rejected_backends(self) -> dict[str, str]:
        """Why each backend was passed over, as the engines found."""
        found: dict[str, str] = {}
        for process in self._processes():
            if process.info:
                found |= process.info.rejected_backends
        return found

    def close(self, drain_timeout: float) -> None:
        """Let running requests end for `drain_timeout` seconds, then end every process."""
        with self._lock:
            self._is_closed = True
        processes = self._processes()
        threads = [
            threading.Thread(target=_close_one, args=(process, drain_timeout))
            for process in processes
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _processes(self) -> list[EngineProcess]:
        with self._lock:
            return [seat.process for seat in self._seats.values()]

    def _ensure(self, slug: str) -> EngineProcess:
        """The process of a model, started anew where the last one has died. Does not wait for it."""
        with self._lock:
            if self._is_closed:
                raise EngineLoadError(ErrorCode.NO_WORKER, "The worker is shutting down.")
            seat = self._seats.get(slug)
            if seat and seat.process.state is not ModelState.FAILED:
                return seat.process
            if seat and time.monotonic() < seat.retry_at:
                return (
                    seat.process
                )  # failed lately: its error is the answer until the pause is over
            others = [seat.process for name, seat in self._seats.items() if name != slug]
            load = grant(self._load_for(slug), self._memory_limit, others)
            process = EngineProcess(slug, load, self._note_exit, self._command)
            if seat is None:
                self._seats[slug] = _Seat(process)
            else:
                seat.process, seat.restarts = process, seat.restarts + 1
            return process

    def _note_exit(self, process: EngineProcess) -> None:
        """Runs in the dead process's reader thread."""
        with self._lock:
            seat = self._seats.get(process.slug)
            if self._is_closed or seat is None or seat.process is not process:
                return
            now = time.monotonic()
            if now - process.started_at > _STABLE_AFTER:
                seat.crashes.clear()
            seat.crashes.append(now)
            # The first crash is mended at once: callers are waiting for a retry.
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (len(seat.crashes) - 1))
            if len(seat.crashes) == 1 and process.info is not None:
                pause = 0.0
            seat.retry_at = now + pause
            wanted = process.slug in self._kept
        if wanted:
            self._revive_after(pause, process.slug)

    def _revive_after(self, pause: float, slug: str) -> None:
        timer = threading.Timer(pause, self._revive, args=[slug])
        timer.daemon = True
        timer.start()

    def _revive(self, slug: str) -> None:
        """Start a kept model's process, or try again later while it cannot even be started."""
        try:
            self._ensure(slug)
        except EngineLoadError as error:
            if self._is_closed:
                return
            logger.warning("'%s' cannot be loaded, trying again: %s", slug, error)
            self._revive_after(_START_RETRY, slug)


def _close_one(process: EngineProcess, drain_timeout: float) -> None:
    if process.state is ModelState.READY and not process.drain(drain_timeout):
        logger.warning("the engine of '%s' had to be cut off", process.slug)
    process.stop()


def _report(slug: str, seat: _Seat) -> EngineReport:
    process = seat.process
    info, stats = process.info, process.stats
    report = EngineReport(
        model=slug,
        state=process.state,
        progress=process.progress.fraction,
        stage=process.progress.stage,
        error=process.error.message if process.error else "",
        pid=process.pid,
        restarts=seat.restarts,
    )
    if info is None or process.state is not ModelState.READY:
        return report
    return EngineReport(
        model=slug,
        state=process.state,
        progress=1.0,
        pid=process.pid,
        backend=info.backend,
        device=info.device,
        dtype=info.dtype,
        max_model_len=info.max_model_len,
        num_slots=info.num_slots,
        num_running=stats.num_running if stats else 0,
        num_waiting=stats.num_waiting if stats else 0,
        resident_bytes=stats.resident_bytes if stats else 0,
        kv_cache_usage=stats.kv_cache_usage if stats else 0.0,
        prompt_tokens_total=stats.prompt_tokens_total if stats else 0,
        generation_tokens_total=stats.generation_tokens_total if stats else 0,
        restarts=seat.restarts,
        capabilities=info.capabilities | _current_level(stats),
        metrics=to_builtins(stats) if stats else {},
    )


def _current_level(stats: Stats | None) -> dict[str, int]:
    """An engine gets faster while it serves, so its first description does not hold for good."""
    return {"optimization_level": stats.optimization_level} if stats else {}
