"""This project's engine, started and spoken to as its worker does: frames over a socket pair."""

from __future__ import annotations

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
from inference.benchmark.engines.process import MeasuredProcess
from inference.benchmark.figures import Trace
from inference.protocol import (
    Delta,
    Failed,
    Finished,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Prompt,
    SamplingParams,
    Submit,
)
from inference.worker.engine_process import ENGINE_COMMAND, engine_environment
from llamagpu.lib.version import VERSION

_PROJECT_ROOT = Path(__file__).resolve().parents[3]
_TIMEOUT = 600.0


class OwnEngine(MeasuredEngine):
    """One engine process with one model. Level -1 is the fastest, as everywhere in the protocol."""

    name = "ours"

    def __init__(
        self,
        setting: Setting,
        *,
        backend: str = "auto",
        optimization_level: int = -1,
        num_slots: int = 32,
        max_model_len: int = CONTEXT,
    ) -> None:
        self._log_file = setting.cache_dir / "ours.log"
        self._load = Load(
            model_path=str(setting.model_dir),
            backend=backend,
            num_slots=num_slots,
            max_model_len=max_model_len,
            num_threads=setting.num_threads,
            optimization_level=optimization_level,
        )
        self._ids = itertools.count()
        self._channel: socket.socket | None = None

    def prepare(self, say: Say) -> None:
        """Nothing to install: it is this project."""

    def start(self, say: Say) -> Description:
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
            wire.send(self._channel, self._load)
            loaded = self._wait_loaded(say)
        except (OSError, wire.WireError) as error:
            raise EngineUnavailableError(self._explain(error)) from error
        return _describe(loaded, time.perf_counter() - started)

    def run(
        self, prompts: Sequence[Sequence[int]], *, new_tokens: int, concurrency: int
    ) -> list[Trace]:
        waiting = list(reversed(prompts))
        params = SamplingParams(max_tokens=new_tokens, temperature=0.0, ignore_eos=True)
        conversation = _Conversation()
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
        self, prompt: Sequence[int], params: SamplingParams, conversation: _Conversation
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

    def _explain(self, error: Exception) -> str:
        words = self.process.last_words() if self.process is not None else ""
        return f"{error}: {words}"


class _Conversation:
    """The requests of one run and when their tokens came."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._sent: dict[str, float] = {}
        self._arrivals: dict[str, list[tuple[float, int]]] = {}
        self._seen: dict[str, int] = {}
        self.traces: list[Trace] = []

    @property
    def num_open(self) -> int:
        return len(self._sent)

    def open(self, request_id: str) -> None:
        self._sent[request_id] = self._now()
        self._arrivals[request_id] = []
        self._seen[request_id] = 0

    def note(self, event: Any) -> bool:
        """Take an event in; whether it ended a request. Raises RunFailedError."""
        if isinstance(event, Failed):
            raise RunFailedError(event.message)
        if isinstance(event, Delta):
            self._count(event.request_id, event.num_tokens)
        if not isinstance(event, Finished):
            return False
        # Text may be held back to the end: the last tokens come with the last word.
        self._count(event.request_id, event.usage.completion_tokens)
        arrivals = tuple(self._arrivals.pop(event.request_id))
        self.traces.append(Trace(self._sent.pop(event.request_id), arrivals))
        return True

    def _count(self, request_id: str, num_tokens: int) -> None:
        news = num_tokens - self._seen[request_id]
        if news > 0:
            self._arrivals[request_id].append((self._now(), news))
            self._seen[request_id] = num_tokens

    def _now(self) -> float:
        return time.perf_counter() - self._started


def _describe(loaded: Loaded, load_time: float) -> Description:
    facts = {name: str(value) for name, value in loaded.capabilities.items()}
    level = facts.get("optimization_level")
    precision = loaded.dtype if level is None else f"level {level}"
    return Description(VERSION, precision, "socket pair", load_time, facts)
