"""One engine process as its worker sees it: started here, spoken to over a socket pair.

Each request gets its own queue of events. When the process ends, for whatever reason, every open
request is told, so nobody waits for a dead engine.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from inference import wire
from inference.protocol import (
    PROTOCOL_VERSION,
    Cancel,
    Delta,
    Drain,
    Drained,
    Exit,
    Failed,
    Finished,
    GetStats,
    Hello,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Started,
    Stats,
    Submit,
)
from inference.states import ModelState
from inference.worker.engine_figures import note_load
from inference.worker.engine_log import EngineLog
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.log_format import current_request_id

logger = logging.getLogger(__name__)

_PROJECT_ROOT = Path(__file__).resolve().parents[2]
# The engine needs its libraries and devices, none of the portal's secrets.
_INHERITED = {"PATH", "HOME", "LANG", "TMPDIR", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "USER"}
_INHERITED_PREFIXES = (
    "LC_",
    "LD_",
    "CUDA_",
    "NVIDIA_",
    "HIP_",
    "ROCR_",
    "HSA_",
    "OMP_",
    "GOMP_",
    "TORCH",
)
_SEND_TIMEOUT = 10

#: Starts an engine; the number of the inherited socket follows.
ENGINE_COMMAND: Sequence[str] = (sys.executable, "-m", "inference.engine.process", "--channel-fd")


#: What an engine must know to send spans; set once, where they are sent at all.
TRACING: dict[str, str] = {}


class EngineDiedError(Exception):
    """The process ended while a request was open on it. `summary` is for who met it every time."""

    summary = "The engine died each time it worked on this request."


class EngineLoadError(Exception):
    """The process could not serve its model."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class EngineNotReadyError(EngineLoadError):
    """It has neither failed nor succeeded in the time that it was given."""


RequestEvent = Started | Delta | Finished | Failed | Exception

#: Takes the events of a request before its last one as they arrive, in the thread that reads them.
Relay = Callable[[Started | Delta], None]


class Ticket:
    """The open request of one caller: `next_event` until `Finished`, `Failed` or EngineDiedError.

    With a `relay` only the last one comes that way, so that a step's tokens wake nobody's thread.
    """

    def __init__(self, request_id: str, relay: Relay | None = None) -> None:
        self.request_id = request_id
        self._relay = relay
        # Of the HTTP request, for what the engine logs about it.
        self.origin = current_request_id.get()
        self._events: queue.SimpleQueue[RequestEvent] = queue.SimpleQueue()

    def put(self, event: RequestEvent) -> None:
        if self._relay is None or not isinstance(event, Started | Delta):
            self._events.put(event)
            return
        try:
            self._relay(event)
        except Exception as error:  # others' events come through the same thread
            logger.exception("request %s: its events cannot be passed on", self.request_id)
            self.mute()
            self._events.put(error)

    def mute(self) -> None:
        """Whatever still comes before the last event is of no use any more."""
        if self._relay is not None:
            self._relay = _ignore

    def next_event(self, timeout: float) -> Started | Delta | Finished | Failed:
        """Raises EngineDiedError, what the relay has raised, and queue.Empty after `timeout` seconds."""
        event = self._events.get(timeout=timeout)
        if isinstance(event, Exception):
            raise event
        return event


def _ignore(event: Started | Delta) -> None:
    """The relay of a ticket that is muted."""


class EngineProcess:
    """Spawns one engine and loads `load.model_path`. Safe to use from many threads.

    `is_leaving` is its owner's word that it is being unloaded: it takes no new request.
    """

    def __init__(
        self,
        slug: str,
        load: Load,
        on_exit: Callable[[EngineProcess], None],
        command: Sequence[str] = ENGINE_COMMAND,
    ) -> None:
        self.slug = slug
        self.load = load
        self.state = ModelState.LOADING
        self.progress = LoadProgress("starting", 0.0)
        self.info: Loaded | None = None
        self.error: LoadFailed | None = None
        self.stats: Stats | None = None
        self.started_at = self._used_at = time.monotonic()
        self.is_leaving = False
        self._on_exit = on_exit
        self._tickets: dict[str, Ticket] = {}
        self._lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._settled = threading.Event()  # loaded, failed or dead
        self._drained = threading.Event()
        self._gone = threading.Event()
        self._is_dead = False
        self._channel, theirs = socket.socketpair()
        self._channel.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_TIMEOUT, 0)
        )
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # what a library prints belongs into the log
                stderr=subprocess.STDOUT,
                env={**engine_environment(), "ENGINE_LOG_LINES": "json", **TRACING},
                cwd=_PROJECT_ROOT,
            )
        if self._process.stdout is not None:
            EngineLog(slug, self._process.pid, self._origin_of).follow(self._process.stdout)
        threading.Thread(target=self._read, name=f"engine-{slug}", daemon=True).start()
        self._send(load)

    @property
    def pid(self) -> int:
        return self._process.pid

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
        """Whether the process has ended, within `timeout` seconds, and its owner knows."""
        return self._gone.wait(timeout)

    def wait_ready(self, timeout: float) -> Loaded:
        """What was loaded.

        Raises EngineLoadError where that failed, EngineNotReadyError where it takes over `timeout`
        seconds, EngineDiedError where the process has ended since or was unloaded meanwhile.
        """
        if not self._settled.wait(timeout):
            raise EngineNotReadyError(
                ErrorCode.MODEL_LOAD_FAILED, f"'{self.slug}' was not ready in time."
            )
        if self._is_dead and (self.info is not None or self.is_leaving):
            raise EngineDiedError(self.slug)
        if self.info is None:
            failed = self.error or LoadFailed(
                ErrorCode.MODEL_LOAD_FAILED, f"The engine of '{self.slug}' died while loading."
            )
            raise EngineLoadError(failed.code, failed.message)
        return self.info

    def submit(self, request: Submit, relay: Relay | None = None) -> Ticket:
        """Open a request. Raises EngineDiedError when the process is gone already."""
        ticket = Ticket(request.request_id, relay)
        with self._lock:
            if self._is_dead:
                raise EngineDiedError(self.slug)
            self._tickets[request.request_id] = ticket
        self._send(request)
        return ticket

    def _origin_of(self, request_id: str) -> str:
        ticket = self._tickets.get(request_id)
        return ticket.origin if ticket else ""

    def cancel(self, request_id: str) -> None:
        """Ask for the end of a request; its ticket still gets a terminal event."""
        self._send(Cancel(request_id))

    def ask_stats(self) -> None:
        """Have `stats` refreshed."""
        if self.state is ModelState.READY:
            self._send(GetStats())

    def drain(self, timeout: float) -> bool:
        """Let open requests end; whether all did within `timeout` seconds."""
        self._send(Drain(timeout))
        return self._drained.wait(timeout)

    def stop(self, grace: float = 2.0) -> None:
        """End the process: asked first, killed after `grace` seconds."""
        self._send(Exit())
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, command: object) -> None:
        """A send that fails means the process is gone or stuck: the reader will find its end."""
        try:
            with self._send_lock:
                if self._is_dead:
                    return
                wire.send(self._channel, command)
        except OSError as error:
            logger.warning("the engine of '%s' takes no command: %s", self.slug, error)
            self._process.kill()

    def _read(self) -> None:
        try:
            frames = wire.FrameReader(self._channel)
            while (events := frames.read()) is not None:
                for event in events:
                    self._dispatch(event)
        except (OSError, wire.WireError) as error:
            logger.error("the engine of '%s' sent no message: %s", self.slug, error)
            self._process.kill()
        self._bury(self._process.wait())

    def _dispatch(self, event: object) -> None:
        if isinstance(event, Started | Delta):
            ticket = self._tickets.get(event.request_id)
        elif isinstance(event, Finished | Failed):
            with self._lock:
                ticket = self._tickets.pop(event.request_id, None)
            self.touch()
        else:
            self._note(event)
            return
        if ticket:
            ticket.put(event)

    def _note(self, event: object) -> None:
        """A word about the process as a whole."""
        match event:
            case Stats():
                self.stats = event
            case LoadProgress():
                self.progress = event
            case Loaded():
                self.info, self.state = event, ModelState.READY
                note_load(self.slug, "ready", time.monotonic() - self.started_at)
                self.touch()
                self._settled.set()
            case LoadFailed():
                # Callers read this: they know the model by its name, not by the server's folders.
                message = event.message.replace(self.load.model_path, self.slug)
                logger.error("'%s' could not be loaded: %s", self.slug, event.message)
                self.error, self.state = LoadFailed(event.code, message), ModelState.FAILED
                note_load(self.slug, str(event.code))
                self._settled.set()
            case Drained():
                self._drained.set()
            case Hello() if event.protocol_version != PROTOCOL_VERSION:
                raise wire.WireError(f"protocol {event.protocol_version}, not {PROTOCOL_VERSION}")

    def _bury(self, exit_code: int) -> None:
        """The process has ended: tell every open request, then the pool."""
        with self._lock:
            self._is_dead = True
            orphans = list(self._tickets.values())
            self._tickets.clear()
        self.state = ModelState.FAILED
        logger.info(
            "the engine of '%s' ended (exit code %s, %s open requests)",
            self.slug,
            exit_code,
            len(orphans),
        )
        # The pool first: whoever is told here comes to it at once for another engine.
        self._on_exit(self)
        for ticket in orphans:
            ticket.put(EngineDiedError(self.slug))
        self._settled.set()
        self._drained.set()
        with self._send_lock:
            self._channel.close()
        self._gone.set()


def engine_environment() -> dict[str, str]:
    """The variables that an engine process inherits."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }
    return kept | {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
