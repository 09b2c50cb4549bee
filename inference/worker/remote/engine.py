"""An upstream as its worker sees it: in the place of an engine process, with the same words.

One thread runs an event loop, on which each request is a task. An upstream that cannot be reached ends
this object as a crash ends a process: its owner begins a new one after a pause, which asks again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

import httpx

from inference.protocol import (
    Failed,
    Finished,
    Loaded,
    LoadFailed,
    LoadProgress,
    Stats,
    Submit,
    Usage,
)
from inference.states import ModelState
from inference.worker.engine_process import (
    EngineDiedError,
    EngineLoadError,
    EngineNotReadyError,
    EngineProcess,
    Relay,
    Ticket,
)
from inference.worker.remote.call import AWAY_PATIENCE, RemoteCall
from inference.worker.remote.failures import BrokenOffError, RemoteFailure
from inference.worker.remote.network import make_client
from inference.worker.remote.probe import Found, probe
from inference.worker.remote.target import RemoteLoad
from llamagpu.lib.error_codes import ErrorCode

logger = logging.getLogger(__name__)

BACKEND = "remote"
#: Seconds between two looks at an upstream that nobody uses.
PROBE_INTERVAL = 30.0
#: Seconds that one may be away: at the beginning, and when it was there before.
LOAD_PATIENCE = 1.0
_DRAIN_POLL = 0.02
_GIVEN_UP = "The upstream is not asked any more."

_Last = Finished | Failed | EngineDiedError


class RemoteEngine:
    """Speaks to the upstream of `load`. Has the interface of `EngineProcess`, safe for many threads."""

    pid = None

    def __init__(
        self, slug: str, load: RemoteLoad, on_exit: Callable[[RemoteEngine], None]
    ) -> None:
        self.slug = slug
        self.load = load
        self.state = ModelState.LOADING
        self.progress = LoadProgress("asking the upstream", 0.0)
        self.info: Loaded | None = None
        self.error: LoadFailed | None = None
        self.stats: Stats | None = None
        self.started_at = self._used_at = time.monotonic()
        self.is_leaving = False
        self._on_exit = on_exit
        self._totals = Usage()
        self._num_requests = 0
        self._tickets: dict[str, Ticket] = {}
        self._calls: dict[str, RemoteCall] = {}
        self._tasks: dict[str, asyncio.Task[_Last]] = {}
        self._lock = threading.Lock()
        self._settled, self._gone = threading.Event(), threading.Event()
        self._is_dead = self._is_draining = False
        self._loop = asyncio.new_event_loop()
        self._stop, self._doubt = asyncio.Event(), asyncio.Event()
        self._places = asyncio.Semaphore(load.num_slots)
        self._client: httpx.AsyncClient
        self._thread = threading.Thread(target=self._run, name=f"remote-{slug}", daemon=True)
        self._thread.start()

    @property
    def num_open(self) -> int:
        """Requests that have not had their last event."""
        return len(self._tickets)

    @property
    def idle_for(self) -> float:
        """Seconds since the last sign of use."""
        return time.monotonic() - self._used_at

    def touch(self) -> None:
        """Somebody is about to use it."""
        self._used_at = time.monotonic()

    def wait_gone(self, timeout: float | None = None) -> bool:
        """Whether it has ended, within `timeout` seconds, and its owner knows."""
        return self._gone.wait(timeout)

    def wait_ready(self, timeout: float) -> Loaded:
        """What the upstream serves. Raises as `EngineProcess.wait_ready` does."""
        if not self._settled.wait(timeout):
            raise EngineNotReadyError(
                ErrorCode.BACKEND_UNAVAILABLE,
                f"The upstream of '{self.slug}' was not there in time.",
            )
        if self._is_dead and (self.info is not None or self.is_leaving):
            raise EngineDiedError(self.slug)
        if self.info is None:
            failed = self.error or LoadFailed(ErrorCode.BACKEND_UNAVAILABLE, _GIVEN_UP)
            raise EngineLoadError(failed.code, failed.message)
        return self.info

    def submit(self, request: Submit, relay: Relay | None = None) -> Ticket:
        """Open a request. Raises EngineDiedError when the upstream is given up already."""
        ticket = Ticket(request.request_id, relay)
        with self._lock:
            if self._is_dead or self._is_draining:
                raise EngineDiedError(self.slug)
            self._tickets[request.request_id] = ticket
            self._loop.call_soon_threadsafe(self._begin, request, ticket)
        return ticket

    def cancel(self, request_id: str) -> None:
        """Close a request's connection; its ticket still gets a terminal event."""
        with self._lock:
            if not self._is_dead:
                self._loop.call_soon_threadsafe(self._cancel, request_id)

    def ask_stats(self) -> None:
        """Have `stats` refreshed: what this worker has asked, for the upstream tells no more."""
        if self.info is None:
            return
        self.stats = Stats(
            num_running=min(self.num_open, self.info.num_slots),
            num_waiting=max(0, self.num_open - self.info.num_slots),
            num_slots=self.info.num_slots,
            kv_cache_usage=0.0,
            prompt_tokens_total=self._totals.prompt_tokens,
            generation_tokens_total=self._totals.completion_tokens,
            requests_total=self._num_requests,
            steps_total=0,
            step_time_total=0.0,
            resident_bytes=0,
            cached_tokens_total=self._totals.cached_tokens,
        )

    def drain(self, timeout: float) -> bool:
        """Let open requests end, take no new one; whether all did within `timeout` seconds."""
        self._is_draining = True
        give_up_at = time.monotonic() + timeout
        while self._tickets and time.monotonic() < give_up_at:
            time.sleep(_DRAIN_POLL)
        return not self._tickets

    def stop(self, grace: float = 2.0) -> None:
        """Close all connections. Requests that are cut off begin again elsewhere."""
        with self._lock:
            self._is_draining = True
            if not self._is_dead:
                self._loop.call_soon_threadsafe(self._stop.set)
        self._gone.wait(grace)

    # -------------------------------------------------------------- on the event loop

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except Exception:  # the pool must learn of the end, whatever it was
            logger.exception("the driver of '%s' failed", self.slug)
        self._bury()

    async def _serve(self) -> None:
        async with make_client(self.load) as self._client:
            try:
                self._settle(await probe(self._client, self.load, LOAD_PATIENCE))
                await self._watch()
            except RemoteFailure as failure:
                self.error = LoadFailed(failure.code, failure.message)
                logger.error("the upstream of '%s' cannot be used: %s", self.slug, failure.message)
            with self._lock:
                self._is_dead = True
            await asyncio.sleep(0)  # what was submitted before begins, to be told the end
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _settle(self, found: Found) -> None:
        limits = [limit for limit in (self.load.max_model_len, found.max_model_len) if limit]
        self.info = Loaded(
            architecture=BACKEND,
            backend=BACKEND,
            device="",
            dtype="",
            max_model_len=min(limits, default=0),
            num_slots=self.load.num_slots,
            vocab_size=0,
            num_parameters=0,
            weight_bytes=0,
            load_time=time.monotonic() - self.started_at,
            capabilities={"batching": BACKEND, "offers": sorted(self.load.capabilities)},
        )
        self.touch()
        self.state = ModelState.READY
        self._settled.set()
        logger.info("the upstream of '%s' is ready", self.slug)

    async def _watch(self) -> None:
        """Until the stop; raises RemoteFailure where the upstream has gone.

        One that is answering somebody is there, whatever another request has met.
        """
        while not self._stop.is_set():
            self._doubt.clear()
            waits = [asyncio.ensure_future(event.wait()) for event in (self._stop, self._doubt)]
            await asyncio.wait(waits, timeout=PROBE_INTERVAL, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if not self._stop.is_set() and not any(c.is_receiving for c in self._calls.values()):
                await self._look_again()

    async def _look_again(self) -> None:
        """Raises RemoteFailure where the upstream stays away, while its requests wait for it too."""
        looking = asyncio.ensure_future(probe(self._client, self.load, AWAY_PATIENCE))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([looking, stopping], return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                looking.result()
        finally:
            for future in (looking, stopping):
                future.cancel()

    def _begin(self, request: Submit, ticket: Ticket) -> None:
        limit = self.info.max_model_len if self.info else 0
        call = RemoteCall(self._client, self.load, request, limit, ticket.put, self._doubt.set)
        self._calls[request.request_id] = call
        task = self._loop.create_task(self._outcome(call, request))
        self._tasks[request.request_id] = task
        task.add_done_callback(lambda done: self._end(call, request, ticket, done))

    def _cancel(self, request_id: str) -> None:
        if task := self._tasks.get(request_id):
            task.cancel()

    def _end(
        self, call: RemoteCall, request: Submit, ticket: Ticket, done: asyncio.Task[_Last]
    ) -> None:
        """Tell the last event, also of a request that was cancelled before its first step."""
        event = self._cut_off(call, request) if done.cancelled() else done.result()
        del self._calls[request.request_id], self._tasks[request.request_id]
        self._count(event.usage if isinstance(event, Finished | Failed) else call.usage)
        self.touch()
        with self._lock:
            self._tickets.pop(request.request_id, None)
        ticket.put(event)

    async def _outcome(self, call: RemoteCall, request: Submit) -> _Last:
        """The last event of a request, however it went."""
        code, message = ErrorCode.INTERNAL_ERROR, "The worker met an unexpected condition."
        try:
            async with asyncio.timeout(request.timeout), self._places:
                return await call.run()
        except RemoteFailure as failure:
            code, message = failure.code, failure.message
            if failure.is_doubtful:
                self._doubt.set()
        except BrokenOffError as error:
            return error
        except TimeoutError:
            code, message = ErrorCode.DEADLINE_EXCEEDED, "The time limit passed."
        except asyncio.CancelledError:
            return self._cut_off(call, request)
        except Exception:  # the caller waits for an end
            logger.exception("request %s: unforeseen failure", request.request_id)
        return Failed(request.request_id, code, message, call.usage)

    def _cut_off(self, call: RemoteCall, request: Submit) -> _Last:
        """Its caller has left, or this object ends."""
        if self._stop.is_set():
            return Failed(request.request_id, ErrorCode.NO_WORKER, "shut down", call.usage)
        if self._is_dead:
            return EngineDiedError(self.slug)
        message = "the request was cancelled"
        return Failed(request.request_id, ErrorCode.CANCELLED, message, call.usage)

    def _count(self, usage: Usage) -> None:
        self._num_requests += 1
        self._totals = Usage(
            self._totals.prompt_tokens + usage.prompt_tokens,
            self._totals.completion_tokens + usage.completion_tokens,
            self._totals.cached_tokens + usage.cached_tokens,
        )

    def _bury(self) -> None:
        """It has ended: tell the pool first, then every request that is still open."""
        with self._lock:
            self._is_dead = True
            orphans = list(self._tickets.values())
            self._tickets.clear()
        self.state = ModelState.FAILED
        self._on_exit(self)
        for ticket in orphans:
            ticket.put(EngineDiedError(self.slug))
        self._settled.set()
        self._gone.set()


#: What can hold a model's place in a worker.
Engine = EngineProcess | RemoteEngine
