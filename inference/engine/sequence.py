"""One request inside the engine, from the waiting queue to its terminal event."""

from __future__ import annotations

import itertools
import random
from enum import StrEnum

from inference.engine.detokenizer import TextAssembler
from inference.protocol import FinishReason, SamplingParams, Timings, TokenLogprob, Usage


class SequenceState(StrEnum):
    """WAITING holds no cache; PREFILLING computes its prompt; DECODING adds a token each step."""

    WAITING = "waiting"
    PREFILLING = "prefilling"
    DECODING = "decoding"
    FINISHED = "finished"


ALLOWED_TRANSITIONS: dict[SequenceState, frozenset[SequenceState]] = {
    SequenceState.WAITING: frozenset({SequenceState.PREFILLING, SequenceState.FINISHED}),
    SequenceState.PREFILLING: frozenset({SequenceState.DECODING, SequenceState.FINISHED}),
    SequenceState.DECODING: frozenset({SequenceState.FINISHED}),
    SequenceState.FINISHED: frozenset(),
}

_arrivals = itertools.count()


class Sequence:
    """The tokens, the place in the cache and the clock of one request.

    Times are `time.monotonic()` seconds. `num_computed` counts the tokens whose keys and values are
    in the cache; the token at that position is the next one to feed.
    """

    def __init__(
        self,
        *,
        request_id: str,
        prompt_ids: list[int],
        params: SamplingParams,
        text: TextAssembler,
        now: float,
        timeout: float,
        priority: int = 0,
    ) -> None:
        self.request_id = request_id
        self.prompt_ids = prompt_ids
        self.params = params
        self.text = text
        self.priority = priority
        self.arrival = next(_arrivals)
        self.received_at = now
        self.deadline = now + timeout
        self.started_at: float | None = None
        self.first_token_at: float | None = None
        self.state = SequenceState.WAITING
        self.slot: int | None = None
        self.num_computed = 0
        self.output_ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.logprobs: list[TokenLogprob] = []
        self.num_logprobs_sent = 0
        # One private stream of random numbers: what else is in the batch cannot reach it.
        self.random = random.Random(params.seed)  # noqa: S311 - sampling, not cryptography

    @property
    def order(self) -> tuple[int, int]:
        """Sort key of the scheduler: the higher priority first, then the earlier arrival."""
        return (-self.priority, self.arrival)

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_ids) + len(self.output_ids)

    @property
    def is_finished(self) -> bool:
        return self.state is SequenceState.FINISHED

    def tokens(self, start: int, end: int) -> list[int]:
        """The token ids at positions `start` to `end` (exclusive), prompt and output together."""
        num_prompt = len(self.prompt_ids)
        if end <= num_prompt:
            return self.prompt_ids[start:end]
        if start >= num_prompt:
            return self.output_ids[start - num_prompt : end - num_prompt]
        return (self.prompt_ids + self.output_ids)[start:end]

    def move_to(self, state: SequenceState) -> None:
        """Change the state. Raises RuntimeError where the table of transitions forbids it."""
        if state not in ALLOWED_TRANSITIONS[self.state]:
            raise RuntimeError(f"{self.request_id}: {self.state} cannot become {state}")
        self.state = state

    def usage(self) -> Usage:
        return Usage(prompt_tokens=len(self.prompt_ids), completion_tokens=len(self.output_ids))

    def timings(self, now: float) -> Timings:
        """Seconds waited, until the first token, and computing, as of `now`."""
        started = self.started_at if self.started_at is not None else now
        first = self.first_token_at if self.first_token_at is not None else now
        return Timings(
            queue_time=started - self.received_at,
            ttft=first - self.received_at,
            inference_time=now - started,
        )
