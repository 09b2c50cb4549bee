"""The engines of this worker: one process per model, started at need, brought back when they die."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import psutil

from inference import metrics
from inference.presence import EngineReport, Freed
from inference.protocol import Load
from inference.states import ModelState
from inference.worker.engine_process import (
    ENGINE_COMMAND,
    EngineDiedError,
    EngineLoadError,
    EngineNotReadyError,
    EngineProcess,
)
from inference.worker.eviction import Eviction, RoomKeeper
from inference.worker.memory_share import grant
from inference.worker.remote.engine import Engine, RemoteEngine
from inference.worker.remote.target import RemoteLoad
from inference.worker.seat import Seat
from llamagpu.lib.error_codes import ErrorCode

logger = logging.getLogger(__name__)

#: Loads a big model from a slow disk; a job's own deadline is usually shorter.
LOAD_TIMEOUT = 600.0
_DEATH_POLL = 0.1
# Between two looks at whether a load is still waited for.
_PATIENCE = 0.5
_START_RETRY = 5.0
_ROOM_POLL = 0.2
# An engine that goes for another one has no requests: it only has to end.
_EVICTION_DRAIN = 5.0


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """What to load for a model, and the generation of the row that says so."""

    load: Load | RemoteLoad
    generation: int = 0


class EnginePool:
    """`order_for(slug)` says what to load for a model; it raises EngineLoadError for an unknown one.

    All engines together may hold `memory_limit` bytes of host memory. Where that is not enough for one
    more, those that nobody uses go, and `on_evict` is told, in a thread of its own.
    """

    def __init__(
        self,
        order_for: Callable[[str], LoadOrder],
        command: Sequence[str] = ENGINE_COMMAND,
        memory_limit: int | None = None,
        on_evict: Callable[[Eviction], None] = lambda eviction: None,
    ) -> None:
        self._order_for = order_for
        self.memory_limit = memory_limit
        self._command = command
        self._seats: dict[str, Seat] = {}
        self._kept: set[str] = set()
        self._room = RoomKeeper(memory_limit)
        self._on_evict = on_evict
        self._freed: dict[str, Freed] = {}
        self._rejected: dict[str, str] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def keep(self, slug: str) -> None:
        """Load a model now and bring it back whenever its process ends."""
        with self._lock:
            if slug in self._kept:
                return
            self._kept.add(slug)
        self._revive(slug)

    def release(self, slug: str) -> None:
        """The opposite of `keep`; what runs goes on."""
        with self._lock:
            self._kept.discard(slug)

    def protect(self, slugs: Iterable[str]) -> None:
        """These models stay, however short memory is."""
        with self._lock:
            self._room.protected = frozenset(slugs)

    def get(
        self,
        slug: str,
        timeout: float = LOAD_TIMEOUT,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Engine:
        """The engine of a model, ready. Raises EngineLoadError, soon once it is not wanted any more.

        One that could not load stays failed for a pause; one that died, or is being unloaded, is
        waited for.
        """
        give_up_at = time.monotonic() + timeout
        while True:
            process = self._ensure(slug)
            try:
                if process is None or process.is_leaving:
                    raise EngineDiedError(slug)
                process.wait_ready(max(0.0, min(_PATIENCE, give_up_at - time.monotonic())))
                process.touch()
                return process
            except EngineNotReadyError:
                if time.monotonic() >= give_up_at or not is_wanted():
                    raise
            except EngineLoadError as error:
                if error.code is not ErrorCode.INSUFFICIENT_MEMORY:
                    raise
                if not self._evict_one_more(slug, process):
                    raise self._with_holders(slug, error) from error
            except EngineDiedError as error:
                if time.monotonic() >= give_up_at or not is_wanted():
                    message = f"The engine of '{slug}' went away and is not back in time."
                    raise EngineLoadError(ErrorCode.MODEL_LOAD_FAILED, message) from error
                time.sleep(_DEATH_POLL)

    def unload(
        self,
        slug: str,
        *,
        drain_timeout: float,
        generation: int,
        idle_for: float | None = None,
    ) -> bool:
        """Begin to end the engine of a model; False where there is none to end.

        Its requests have `drain_timeout` seconds; those cut off begin again on the engine that they
        thereby ask for. With `idle_for`, only an engine without a request for so many seconds. The
        memory that it gave back is told under `generation`.
        """
        with self._lock:
            seat = self._seats.get(slug)
            if seat is None or seat.process.is_leaving or self._is_closed:
                return False
            if idle_for is not None and not seat.is_idle_for(idle_for):
                return False
            seat.process.is_leaving = True
        threading.Thread(
            target=self._leave,
            args=(slug, seat, drain_timeout, generation),
            name=f"unload-{slug}",
            daemon=True,
        ).start()
        return True

    def generations(self) -> dict[str, int]:
        """The models with an engine here, and the generation of each."""
        with self._lock:
            return {slug: seat.generation for slug, seat in self._seats.items()}

    def ask_stats(self) -> None:
        for process in self._processes():
            process.ask_stats()

    def reports(self) -> tuple[EngineReport, ...]:
        with self._lock:
            seats = list(self._seats.items())
        return tuple(seat.report(slug) for slug, seat in seats)

    def freed(self) -> dict[str, Freed]:
        """What the last unloading of each model has given back."""
        with self._lock:
            return dict(self._freed)

    def rejected_backends(self) -> dict[str, str]:
        """Why each backend was passed over, as the engines found, also those that are gone."""
        for process in self._processes():
            if process.info:
                self._rejected |= process.info.rejected_backends
        return dict(self._rejected)

    def close(self, drain_timeout: float) -> None:
        """Let running requests end for `drain_timeout` seconds, then end every process."""
        with self._lock:
            self._is_closed = True
        processes = self._processes()
        threads = [
            threading.Thread(target=_end, args=(process, drain_timeout)) for process in processes
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _processes(self) -> list[Engine]:
        with self._lock:
            return [seat.process for seat in self._seats.values()]

    def _ensure(self, slug: str) -> Engine | None:
        """The process of a model, started anew where the last one has died. Does not wait for it.

        None while other engines end to make room for it.
        """
        with self._lock:
            if self._is_closed:
                raise EngineLoadError(ErrorCode.NO_WORKER, "The worker is shutting down.")
            seat = self._seats.get(slug)
            if seat and (seat.process.is_leaving or seat.process.state is not ModelState.FAILED):
                return seat.process
            self._room.favoured = frozenset(self._kept)
            if self._room.is_waiting(slug, self._seats):
                return None
            has_room = self._room.has_waited(slug)
            if not has_room and self._evict(slug, self._room.one_more(slug, self._seats)):
                return None
            if seat and not has_room and time.monotonic() < seat.retry_at:
                # Failed lately: its error is the answer until the pause is over.
                return seat.process
            others = [seat.process for name, seat in self._seats.items() if name != slug]
            order = self._order_for(slug)
            going = None if has_room else self._room.make_room(slug, order.load, self._seats)
            if going is not None:
                self._evict(slug, going)
                return None
            process = self._begin(slug, order.load, others)
            if seat is None:
                self._seats[slug] = Seat(process, order.generation)
            else:
                seat.process, seat.generation = process, order.generation
                seat.restarts += 1
            return process

    def _evict(self, slug: str, going: Sequence[str]) -> bool:
        """Have these engines go for `slug`; whether there were any. The lock is held."""
        for name in going:
            seat = self._seats[name]
            eviction = Eviction(name, seat.generation, seat.process.idle_for, slug)
            seat.process.is_leaving = True
            self._kept.discard(name)
            threading.Thread(
                target=self._make_go, args=(seat, eviction), name=f"evict-{name}", daemon=True
            ).start()
        return bool(going)

    def _evict_one_more(self, slug: str, failed: Engine | None) -> bool:
        """Whether it is worth to ask for another engine after `failed` has found too little memory."""
        with self._lock:
            seat = self._seats.get(slug)
            if seat is None or seat.process is not failed or self._is_closed:
                return not self._is_closed
            if self._room.is_waiting(slug, self._seats):
                return True
            return self._evict(slug, self._room.one_more(slug, self._seats))

    def _make_go(self, seat: Seat, eviction: Eviction) -> None:
        metrics.EVICTIONS.inc(model_name=eviction.slug)
        logger.warning(
            "'%s' is unloaded, unused for %.0f s, to make room for '%s'",
            eviction.slug,
            eviction.idle_for,
            eviction.made_room_for,
        )
        try:
            self._on_evict(eviction)
        finally:
            why = (
                f"unloaded after {eviction.idle_for:.0f} s without a request, "
                f"to make room for '{eviction.made_room_for}'"
            )
            self._leave(eviction.slug, seat, _EVICTION_DRAIN, eviction.generation, why)

    def _with_holders(self, slug: str, error: EngineLoadError) -> EngineLoadError:
        with self._lock:
            said = self._room.explain(slug, self._seats)
        message = f"{str(error).rstrip('.')}. {said}" if said else str(error)
        return EngineLoadError(error.code, message)

    def _begin(self, slug: str, load: Load | RemoteLoad, others: Sequence[Engine]) -> Engine:
        if isinstance(load, RemoteLoad):
            return RemoteEngine(slug, load, self._note_exit)
        granted = grant(load, self.memory_limit, others)
        return EngineProcess(slug, granted, self._note_exit, self._command)

    def _leave(
        self, slug: str, seat: Seat, drain_timeout: float, generation: int, why: str = ""
    ) -> None:
        """Ends one engine, in a thread of its own."""
        process = seat.process

        def note(num_bytes: int) -> None:
            with self._lock:
                self._freed[slug] = Freed(generation, num_bytes, why)

        _end(process, drain_timeout, note)
        process.wait_gone()
        with self._lock:
            had_failed = self._seats.get(slug) is seat  # long ago: no exit was left to note
            if had_failed:
                del self._seats[slug]
        logger.info("'%s' is unloaded", slug)
        if had_failed:
            self._revive(slug)

    def _note_exit(self, process: Engine) -> None:
        """Runs in the dead process's reader thread."""
        with self._lock:
            seat = self._seats.get(process.slug)
            if self._is_closed or seat is None or seat.process is not process:
                return
            if process.is_leaving:
                del self._seats[process.slug]
                pause = 0.0
            else:
                pause = seat.note_crash()
                metrics.CRASHES.inc(model_name=process.slug)
            wanted = process.slug in self._kept
        if wanted:
            self._revive_after(pause, process.slug)

    def _revive_after(self, pause: float, slug: str) -> None:
        timer = threading.Timer(pause, self._revive, args=[slug])
        timer.daemon = True
        timer.start()

    def _revive(self, slug: str) -> None:
        """Start a kept model's process, or try again later while it cannot even be started."""
        with self._lock:
            if slug not in self._kept:
                return
        try:
            if self._ensure(slug) is None:
                self._revive_after(_ROOM_POLL, slug)
        except EngineLoadError as error:
            if self._is_closed:
                return
            logger.warning("'%s' cannot be loaded, trying again: %s", slug, error)
            self._revive_after(_START_RETRY, slug)


def _end(
    process: Engine,
    drain_timeout: float,
    note_memory: Callable[[int], None] = lambda num_bytes: None,
) -> None:
    """Let a process's requests end, then the process. What it held until then is told."""
    if process.state is ModelState.READY and not process.drain(drain_timeout):
        logger.warning("the engine of '%s' had to be cut off", process.slug)
    note_memory(_family_bytes(process.pid))
    process.stop()


def _family_bytes(pid: int | None) -> int:
    """Host memory that a process and its children hold; 0 where it is gone, or is no process of ours."""
    if pid is None:
        return 0
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue  # it has ended meanwhile
    return total
