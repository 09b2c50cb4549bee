"""Many inputs of one request: a sequence for each inside the engine, one request outside.

They enter a few at a time, so that they leave room in the queue and in the cache for others.
Whatever happens to any of them, the caller gets one terminal event.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from inference.engine.sequence import Sequence
from inference.protocol import EngineEvent, Failed, Finished, Started, Submit, Timings, Usage

logger = logging.getLogger(__name__)


def split_inputs(command: Submit) -> list[Submit]:
    """One command per input of the prompt, with ids of their own."""
    return [
        replace(command, request_id=f"{command.request_id}\x1e{index}", prompt=prompt)
        for index, prompt in enumerate(command.prompt.inputs)
    ]


@dataclass(slots=True)
class _Group:
    """The inputs of one request. `followers` wait outside, the last one is the next; `num_spent` are
    the tokens of those that were begun.
    """

    request_id: str
    num_tokens: int
    followers: list[Sequence]
    open: set[str] = field(default_factory=set)
    finished: dict[int, Finished] = field(default_factory=dict)
    num_spent: int = 0
    is_announced: bool = False
    is_over: bool = False

    def release(self, count: int) -> list[Sequence]:
        """The next followers, who enter the engine now."""
        released = [self.followers.pop() for _ in range(min(count, len(self.followers)))]
        self.open |= {sequence.request_id for sequence in released}
        return released


class InputGroups:
    """Between the engine and whoever listens to it. For any thread."""

    def __init__(
        self,
        emit: Callable[[list[EngineEvent]], None],
        enqueue: Callable[[Sequence], None],
        cancel: Callable[[str], None],
        window: int,
    ) -> None:
        """At most `window` inputs of a request are in the engine at once."""
        self._emit = emit
        self._enqueue = enqueue
        self._cancel = cancel
        self._window = max(1, window)
        self._lock = threading.RLock()
        self._groups: dict[str, _Group] = {}
        self._by_child: dict[str, tuple[_Group, int]] = {}

    def start(self, request_id: str, sequences: list[Sequence]) -> None:
        """Enqueue the inputs of a request. One whose id is in use is ignored, as the engine does."""
        with self._lock:
            if request_id in self._groups:
                logger.error("request id %s is in use; the second is ignored", request_id)
                return
            num_tokens = sum(len(sequence.prompt_ids) for sequence in sequences)
            group = _Group(request_id, num_tokens, sequences[::-1])
            self._groups[request_id] = group
            for index, sequence in enumerate(sequences):
                self._by_child[sequence.request_id] = (group, index)
            released = group.release(self._window)
        for sequence in released:
            self._enqueue(sequence)

    def cancel(self, request_id: str) -> bool:
        """End a request, as its caller names it; whether it is one of these."""
        with self._lock:
            group = self._groups.get(request_id)
            if group is None:
                return False
            self._drop_followers(group)
            open_ids = sorted(group.open)
        for child_id in open_ids:
            self._cancel(child_id)
        return True

    def emit(self, events: list[EngineEvent]) -> None:
        """Pass the engine's events on, those of inputs under the name of their request."""
        if not self._by_child:
            self._emit(events)
            return
        seen: list[EngineEvent] = []
        released: list[Sequence] = []
        cancelled: list[str] = []
        with self._lock:
            for event in events:
                found = self._by_child.get(getattr(event, "request_id", ""))
                if found is None:
                    seen.append(event)
                    continue
                group, index = found
                seen += self._translate(event, group, index)
                if group.is_over:
                    cancelled += sorted(group.open)
                elif isinstance(event, Finished):
                    released += group.release(1)
            if seen:
                self._emit(seen)
        for sequence in released:
            self._enqueue(sequence)
        for request_id in cancelled:
            self._cancel(request_id)

    def _translate(self, event: EngineEvent, group: _Group, index: int) -> list[EngineEvent]:
        """What the caller sees of one input's event: nothing after the request's end."""
        if isinstance(event, Finished | Failed):
            group.open.discard(event.request_id)
            del self._by_child[event.request_id]
        if group.is_over:
            return []
        match event:
            case Started():
                group.num_spent += event.prompt_tokens
                is_first, group.is_announced = not group.is_announced, True
                told = replace(event, request_id=group.request_id, prompt_tokens=group.num_tokens)
                return [told] if is_first else []
            case Finished():
                group.finished[index] = event
                if group.followers or group.open:
                    return []
                self._end(group)
                return [_joined(group)]
            case Failed():
                self._end(group)
                usage = Usage(group.num_spent)
                return [replace(event, request_id=group.request_id, usage=usage)]
        return []

    def _end(self, group: _Group) -> None:
        group.is_over = True
        del self._groups[group.request_id]
        self._drop_followers(group)

    def _drop_followers(self, group: _Group) -> None:
        """The engine has never seen them: no event of theirs will come."""
        for sequence in group.followers:
            self._by_child.pop(sequence.request_id, None)
        group.followers = []


def _joined(group: _Group) -> Finished:
    """One terminal event for all inputs."""
    ends = [group.finished[index] for index in sorted(group.finished)]
    start = min(item.timings.queue_time for item in ends)
    end = max(item.timings.queue_time + item.timings.inference_time for item in ends)
    return replace(
        ends[0],
        request_id=group.request_id,
        usage=Usage(sum(item.usage.prompt_tokens for item in ends)),
        timings=Timings(start, min(item.timings.ttft for item in ends), end - start),
        embeddings=tuple(vector for item in ends for vector in item.embeddings),
    )
