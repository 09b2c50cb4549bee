"""The place of one model in a worker: its engine process of now and what led here."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from inference.presence import EngineReport
from inference.protocol import Stats
from inference.states import ModelState
from inference.wire import to_builtins
from inference.worker.memory_share import held_bytes
from inference.worker.remote.engine import Engine

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_STABLE_AFTER = 60.0
_MAX_CRASHES = 5


@dataclass(slots=True)
class Seat:
    """`generation` is the model row's that the process was started for; a process that could not
    serve is not started again before `retry_at` (monotonic seconds)."""

    process: Engine
    generation: int
    crashes: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_CRASHES))
    restarts: int = 0
    retry_at: float = 0.0

    def note_crash(self) -> float:
        """The process has ended by itself; seconds before the next one may start."""
        now = time.monotonic()
        if now - self.process.started_at > _STABLE_AFTER:
            self.crashes.clear()
        self.crashes.append(now)
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (len(self.crashes) - 1))
        # The first crash is mended at once: callers are waiting for a retry.
        if len(self.crashes) == 1 and self.process.info is not None:
            pause = 0.0
        self.retry_at = now + pause
        return pause

    def is_idle_for(self, seconds: float) -> bool:
        """Ready, and without a request for so long."""
        process = self.process
        if process.state is not ModelState.READY or process.num_open:
            return False
        return process.idle_for >= seconds

    def report(self, slug: str) -> EngineReport:
        """The engine as other processes see it."""
        process = self.process
        info, stats = process.info, process.stats
        state = ModelState.UNLOADING if process.is_leaving else process.state
        if info is None or process.state is not ModelState.READY:
            return EngineReport(
                model=slug,
                state=state,
                progress=process.progress.fraction,
                stage=process.progress.stage,
                error=process.error.message if process.error else "",
                pid=process.pid,
                restarts=self.restarts,
                generation=self.generation,
                held_bytes=held_bytes(process),
            )
        return EngineReport(
            model=slug,
            state=state,
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
            restarts=self.restarts,
            generation=self.generation,
            held_bytes=held_bytes(process),
            idle_for=process.idle_for,
            capabilities=info.capabilities | _current_level(stats),
            metrics=to_builtins(stats) if stats else {},
        )


def _current_level(stats: Stats | None) -> dict[str, int]:
    """An engine gets faster while it serves, so its first description does not hold for good."""
    return {"optimization_level": stats.optimization_level} if stats else {}
