"""This project's engine, started and spoken to as its worker does: frames over a socket pair."""

from __future__ import annotations

import dataclasses
import itertools
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference import wire
from inference.benchmark.engines.base import (
    CONTEXT,
    Description,
    EngineUnavailableError,
    MeasuredEngine,
    RunFailedError,
    Say,
    Setting,
)
from inference.benchmark.engines.conversation import Conversation
from inference.benchmark.engines.process import MeasuredProcess
from inference.benchmark.figures import Trace
from inference.protocol import (
    GetStats,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Prompt,
    SamplingParams,
    Stats,
    Submit,
)
from inference.worker.engine_process import ENGINE_COMMAND, engine_environment
from llamagpu.lib.version import VERSION

_PROJECT_ROOT = Path(__file__).resolve().parents[3]
_TIMEOUT = 600.0
_FASTEST = -1
_FASTEST_LEVEL = 3
# How long it may be prepared, and how long nothing may be seen to work on it.
_PREPARE_TIMEOUT, _PREPARE_PATIENCE = 1800.0, 10.0
_POLL = 0.5
# A paused engine is not a stuck one: its watchdog must outlast every turn of the others.
_STEP_TIMEOUT = 86_400.0


class OwnEngine(MeasuredEngine):
    """One engine process with one model. Level -1 is the fastest, as everywhere in the protocol."""

    name = "ours"

    def __init__(
        self,
        setting: Setting,
        *,
        backend: str = "auto",
        optimization_level: int = _FASTEST,
        num_slots: int = 32,
        max_model_len: int = CONTEXT,
    ) -> None:
        self._prepared = setting.prepared
        self._log_file = setting.cache_dir / "ours.log"
        self._load = Load(
            model_path=str(setting.model_dir),
            backend=backend,
            num_slots=num_slots,
            max_model_len=max_model_len,
            num_threads=setting.num_threads,
            optimization_level=optimization_level,
            step_timeout=_STEP_TIMEOUT,
            cache_dir=str(setting.engine_cache_dir or ""),
        )
        self._ids = itertools.count()
        self._channel: socket.socket | None = None

    def prepare(self, say: Say) -> None:
        """Nothing to install: it is this project."""

    def start(self, say: Say) -> Description:
        """Start from what is cached. What the fastest level needs is made first where it is missing."""
        about = self._start(say, self._load)
        is_fastest_wanted = self._load.optimization_level in (_FASTEST, _FASTEST_LEVEL)
        is_there = about.level is None or about.level >= _FASTEST_LEVEL
        if is_fastest_wanted and not is_there and self._load.backend not in self._prepared:
            self._prepared.add(self._load.backend)
            self.stop()
            self._start(say, dataclasses.replace(self._load, upgrade=True))
            self._wait_for_upgrade(say)
            self.stop()
            about = self._start(say, self._load)
        return about

    def _start(self, say: Say, load: Load) -> Description:
        say("loading")
        started = time.perf_counter()
        self._channel, theirs = socket.socketpair()
        self._channel.settimeout(_TIMEOUT)
        with theirs:
            self.process = MeasuredProcess(
                [*ENGINE_COMMAND, str(theirs.fileno())],
                log_file=self._log_file,
                environment=engine_environment(),
                pass_fds=[theirs.fileno()],
                cwd=_PROJECT_ROOT,
            )
        try:
            wire.send(self._channel, load)
            loaded = self._wait_loaded(say)
        except (OSError, wire.WireError) as error:
            raise EngineUnavailableError(self._explain(error)) from error
        return _describe(loaded, time.perf_counter() - started)

    def run(
        self, prompts: Sequence[Sequence[int]], *, new_tokens: int, concurrency: int
    ) -> list[Trace]:
        waiting = list(reversed(prompts))
        params = SamplingParams(max_tokens=new_tokens, temperature=0.0, ignore_eos=True)
        conversation = Conversation()
        try:
            for _ in range(min(concurrency, len(waiting))):
                self._submit(waiting.pop(), params, conversation)
            while conversation.num_open:
                if conversation.note(self._receive()) and waiting:
                    self._submit(waiting.pop(), params, conversation)
        except (OSError, wire.WireError) as error:
            raise RunFailedError(self._explain(error)) from error
        return conversation.traces

    def stop(self) -> None:
        super().stop()
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _submit(
        self, prompt: Sequence[int], params: SamplingParams, conversation: Conversation
    ) -> None:
        request_id = f"bench-{next(self._ids)}"
        conversation.open(request_id)
        submit = Submit(request_id, Prompt(token_ids=tuple(prompt)), params, _TIMEOUT)
        wire.send(self._connected(), submit)

    def _receive(self) -> Any:
        event = wire.receive(self._connected())
        if event is None:
            raise ConnectionResetError("the engine process ended")
        return event

    def _connected(self) -> socket.socket:
        if self._channel is None:
            raise ConnectionResetError("the engine was not started")
        return self._channel

    def _wait_loaded(self, say: Say) -> Loaded:
        while True:
            event = self._receive()
            if isinstance(event, Loaded):
                return event
            if isinstance(event, LoadProgress):
                say(f"{event.stage} {event.fraction:.0%}")
            if isinstance(event, LoadFailed):
                raise EngineUnavailableError(event.message)

    def _wait_for_upgrade(self, say: Say) -> None:
        """Until the engine serves at its fastest level, or nobody prepares that any more."""
        deadline = time.monotonic() + _PREPARE_TIMEOUT
        last_work = time.monotonic()
        try:
            while self._ask_level() < _FASTEST_LEVEL and time.monotonic() < deadline:
                process = self.process
                if process is not None and process.has_children():
                    last_work = time.monotonic()
                elif process is not None and time.monotonic() - last_work > _PREPARE_PATIENCE:
                    say(f"level {_FASTEST_LEVEL} is not available: {process.last_words()}")
                    return
                say(f"preparing level {_FASTEST_LEVEL}, once")
                time.sleep(_POLL)
        except (OSError, wire.WireError) as error:
            raise EngineUnavailableError(self._explain(error)) from error

    def _ask_level(self) -> int:
        wire.send(self._connected(), GetStats())
        while not isinstance(event := self._receive(), Stats):
            continue
        return event.optimization_level

    def _explain(self, error: Exception) -> str:
        words = self.process.last_words() if self.process is not None else ""
        return f"{error}: {words}"


def _describe(loaded: Loaded, load_time: float) -> Description:
    facts = {name: str(value) for name, value in loaded.capabilities.items()}
    level = loaded.capabilities.get("optimization_level")
    precision = loaded.dtype if level is None else f"{loaded.dtype}, level {level}"
    return Description(VERSION, precision, "socket pair", load_time, facts, level)
