"""An engine in a background thread, its events sorted by request."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inference.engine.config import EngineConfig
from inference.engine.startup import RunningEngine, start_engine
from inference.protocol import (
    Delta,
    Drained,
    EngineEvent,
    Failed,
    Finished,
    Prompt,
    SamplingParams,
    Submit,
)

TIMEOUT = 120.0


class Harness:
    """`ask` and wait, or `send` and look at the events as they come."""

    def __init__(self, path: Path, **config: Any) -> None:
        settings = {
            "num_slots": 32,
            "num_threads": 1,
            "backend": "cpu",
            "optimization_level": 0,
            **config,
        }
        self.running: RunningEngine = start_engine(path, EngineConfig(**settings), self._emit)
        self.engine = self.running.engine
        self.on_event: Callable[[EngineEvent], None] | None = None
        self._queues: dict[str, queue.Queue[EngineEvent]] = {}
        self._texts: dict[str, str] = {}
        self._ids = itertools.count()
        self.drained: queue.Queue[Drained] = queue.Queue()
        self._thread = threading.Thread(target=self.engine.run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.engine.stop()
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()

    def send(
        self,
        prompt: Prompt | list[int],
        *,
        timeout: float = TIMEOUT,
        priority: int = 0,
        tenant: str = "",
        **params: Any,
    ) -> str:
        """Submit a request; its id. Greedy and without an end token unless `params` say so."""
        request_id = f"r{next(self._ids)}"
        self._queues[request_id] = queue.Queue()
        form = Prompt(token_ids=tuple(prompt)) if isinstance(prompt, list) else prompt
        settings = {"temperature": 0.0, "ignore_eos": True, **params}
        self.engine.submit(
            Submit(request_id, form, SamplingParams(**settings), timeout, tenant, priority)
        )
        return request_id

    def next_event(self, request_id: str) -> EngineEvent:
        event = self._queues[request_id].get(timeout=TIMEOUT)
        if isinstance(event, Delta) and event.index == 0:
            self._texts[request_id] = self._texts.get(request_id, "") + event.text
        return event

    def wait_for(self, request_id: str, kind: type[Any]) -> Any:
        """The next event of `kind`, the ones before it dropped."""
        while True:
            event = self.next_event(request_id)
            if isinstance(event, kind):
                return event
            assert not isinstance(event, Finished | Failed), event

    def outcome(self, request_id: str) -> Finished | Failed:
        """The terminal event; the deltas joined must be its text."""
        while True:
            event = self.next_event(request_id)
            if isinstance(event, Finished):
                assert event.text == self._texts.get(request_id, "")
            if isinstance(event, Finished | Failed):
                return event

    def finish(self, request_id: str) -> Finished:
        outcome = self.outcome(request_id)
        assert isinstance(outcome, Finished), outcome
        return outcome

    def ask(self, prompt: Prompt | list[int], **settings: Any) -> Finished:
        return self.finish(self.send(prompt, **settings))

    def ask_all(self, prompts: list[list[int]], **settings: Any) -> list[str]:
        """The texts of requests that run together."""
        ids = [self.send(prompt, **settings) for prompt in prompts]
        return [self.finish(request_id).text for request_id in ids]

    def num_left(self, request_id: str) -> int:
        """Events of a request that nobody has taken."""
        return self._queues[request_id].qsize()

    def _emit(self, events: list[EngineEvent]) -> None:
        for event in events:
            if isinstance(event, Drained):
                self.drained.put(event)
            else:
                self._queues[event.request_id].put(event)  # type: ignore[union-attr]
            if self.on_event is not None:
                self.on_event(event)


@contextmanager
def running_engine(path: Path, **config: Any) -> Iterator[Harness]:
    harness = Harness(path, **config)
    harness.start()
    try:
        yield harness
    finally:
        harness.stop()
