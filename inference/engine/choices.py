"""`n` answers to one prompt: a sequence for each inside the engine, one request outside.

The first answer goes ahead; the others follow when its prompt is computed, so that they find it in
the cache. Whatever happens to any of them, the caller gets one terminal event.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from inference.engine.sequence import Sequence
from inference.engine.tiling import TILE
from inference.protocol import (
    Choice,
    Delta,
    EngineEvent,
    Failed,
    Finished,
    SamplingParams,
    Started,
    Submit,
    Timings,
    Usage,
)

logger = logging.getLogger(__name__)

Enqueue = Callable[[Sequence], None]
Cancel = Callable[[str], None]


def split_choices(command: Submit) -> list[Submit]:
    """One command per answer, with ids and seeds of their own; the command itself where `n` is 1."""
    params = command.params
    if params.n == 1:
        return [command]
    return [
        replace(
            command, request_id=_child_id(command.request_id, index), params=_params(params, index)
        )
        for index in range(params.n)
    ]


def _params(params: SamplingParams, index: int) -> SamplingParams:
    seed = None if params.seed is None else params.seed + index
    # What the first says of the prompt holds for all.
    scores = None if index else params.prompt_logprobs
    return replace(params, n=1, seed=seed, prompt_logprobs=scores)


def _child_id(request_id: str, index: int) -> str:
    # No caller's id holds this character: ids come from the worker.
    return f"{request_id}\x1f{index}"


@dataclass(slots=True)
class _Group:
    """The answers of one request. `followers` wait for the first; `open` are in the engine."""

    request_id: str
    n: int
    followers: list[Sequence] = field(default_factory=list)
    open: set[str] = field(default_factory=set)
    finished: dict[int, Finished] = field(default_factory=dict)
    prompt_tokens: int = 0
    num_tokens: dict[int, int] = field(default_factory=dict)
    is_announced: bool = False
    is_over: bool = False

    def release(self) -> list[Sequence]:
        """The followers, who enter the engine now."""
        released, self.followers = self.followers, []
        self.open |= {sequence.request_id for sequence in released}
        return released


class ChoiceGroups:
    """Between the engine and whoever listens to it. For any thread."""

    def __init__(
        self, emit: Callable[[list[EngineEvent]], None], enqueue: Enqueue, cancel: Cancel
    ) -> None:
        """`enqueue` and `cancel` say how sequences enter the engine and leave it early."""
        self._emit = emit
        self._enqueue = enqueue
        self._cancel = cancel
        self._lock = threading.RLock()
        self._groups: dict[str, _Group] = {}
        self._by_child: dict[str, tuple[_Group, int]] = {}

    def start(self, request_id: str, sequences: list[Sequence]) -> None:
        """Enqueue the answers of a request. One whose id is in use is ignored, as the engine does."""
        with self._lock:
            if request_id in self._groups:
                logger.error("request id %s is in use; the second is ignored", request_id)
                return
            if len(sequences) > 1:
                sequences = self._open_group(request_id, sequences)
        for sequence in sequences:
            self._enqueue(sequence)

    def cancel(self, request_id: str) -> None:
        """End a request, as its caller names it."""
        with self._lock:
            group = self._groups.get(request_id)
            ids = [request_id] if group is None else sorted(group.open)
            if group is not None:
                self._drop_followers(group)
        for child_id in ids:
            self._cancel(child_id)

    def emit(self, events: list[EngineEvent]) -> None:
        """Pass the engine's events on, those of answers under the name of their request."""
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
                elif isinstance(event, Delta | Finished):
                    released += group.release()
            if seen:
                self._emit(seen)
        for sequence in released:
            self._enqueue(sequence)
        for request_id in cancelled:
            self._cancel(request_id)

    def _open_group(self, request_id: str, sequences: list[Sequence]) -> list[Sequence]:
        """Register the answers; those that enter the engine now."""
        group = _Group(request_id, len(sequences), followers=sequences[1:])
        group.open.add(sequences[0].request_id)
        self._groups[request_id] = group
        for index, sequence in enumerate(sequences):
            self._by_child[sequence.request_id] = (group, index)
        # A prompt without a whole block in front of its last token is never found in the cache.
        if len(sequences[0].prompt_ids) <= TILE:
            return [sequences[0], *group.release()]
        return sequences[:1]

    def _translate(self, event: EngineEvent, group: _Group, index: int) -> list[EngineEvent]:
        """What the caller sees of one answer's event: nothing after the request's end."""
        if isinstance(event, Finished | Failed):
            group.open.discard(event.request_id)
            del self._by_child[event.request_id]
        if group.is_over:
            return []
        match event:
            case Started():
                group.prompt_tokens = event.prompt_tokens
                is_first, group.is_announced = not group.is_announced, True
                return [replace(event, request_id=group.request_id)] if is_first else []
            case Delta():
                group.num_tokens[index] = event.num_tokens
                return [replace(event, request_id=group.request_id, index=index)]
            case Finished():
                group.finished[index] = event
                group.num_tokens[index] = event.usage.completion_tokens
                if len(group.finished) < group.n:
                    return []
                self._end(group)
                return [_joined(group)]
            case Failed():
                self._end(group)
                group.num_tokens[index] = event.usage.completion_tokens
                return [replace(event, request_id=group.request_id, usage=_spent(event, group))]
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


def _spent(failed: Failed, group: _Group) -> Usage:
    """What all answers took up to the failure of one: the prompt counted once."""
    return Usage(group.prompt_tokens, sum(group.num_tokens.values()), failed.usage.cached_tokens)


def _joined(group: _Group) -> Finished:
    """One terminal event for all answers: the prompt counted once, the tokens of all."""
    answers = [group.finished[index] for index in range(group.n)]
    first = answers[0]
    start = min(answer.timings.queue_time for answer in answers)
    end = max(answer.timings.queue_time + answer.timings.inference_time for answer in answers)
    return replace(
        first,
        request_id=group.request_id,
        usage=replace(
            first.usage,
            completion_tokens=sum(answer.usage.completion_tokens for answer in answers),
        ),
        timings=Timings(
            queue_time=start,
            ttft=min(answer.timings.ttft for answer in answers),
            inference_time=end - start,
        ),
        choices=tuple(
            Choice(index, answer.text, answer.finish_reason, answer.logprobs)
            for index, answer in enumerate(answers)
        ),
    )
