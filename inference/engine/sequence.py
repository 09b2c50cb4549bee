"""One request inside the engine, from the waiting queue to its terminal event."""

from __future__ import annotations

import itertools
import random
import secrets
from enum import StrEnum
from typing import TYPE_CHECKING

from inference.engine.detokenizer import TextAssembler
from inference.engine.prefix_keys import PrefixKeys
from inference.protocol import FinishReason, SamplingParams, Timings, TokenLogprob, Usage

if TYPE_CHECKING:
    from inference.engine.drafts import DraftState
    from inference.engine.grammar import GrammarState
    from inference.engine.pooling import PooledStates
    from inference.engine.sampler import SampledToken


class SequenceState(StrEnum):
    """WAITING holds no cache; PREFILLING computes its prompt; DECODING adds a token each step.

    A sequence that is preempted waits again, with its output so far, and then computes both anew.
    """

    WAITING = "waiting"
    PREFILLING = "prefilling"
    DECODING = "decoding"
    FINISHED = "finished"


ALLOWED_TRANSITIONS: dict[SequenceState, frozenset[SequenceState]] = {
    SequenceState.WAITING: frozenset({SequenceState.PREFILLING, SequenceState.FINISHED}),
    SequenceState.PREFILLING: frozenset(
        {SequenceState.DECODING, SequenceState.WAITING, SequenceState.FINISHED}
    ),
    SequenceState.DECODING: frozenset({SequenceState.WAITING, SequenceState.FINISHED}),
    SequenceState.FINISHED: frozenset(),
}

_arrivals = itertools.count()


class Sequence:
    """The tokens, the place in the cache and the clock of one request.

    Times are `time.monotonic()` seconds. `num_computed` counts the tokens whose keys and values are
    in the cache; the token at that position is the next one to feed. `slot` and `room` are its place
    and the tokens that fit there. While PREFILLING, tokens up to `chunk_end` are computed in chunks,
    from there to `prefill_end` as rows. `num_cached` of the prompt's tokens were found in the cache.
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
        tenant: str = "",
    ) -> None:
        self.request_id = request_id
        self.prompt_ids = prompt_ids
        self.params = params
        self.text = text
        self.priority = priority
        self.tenant = tenant
        self.arrival = next(_arrivals)
        self.received_at = now
        self.deadline = now + timeout
        self.started_at: float | None = None
        self.first_token_at: float | None = None
        self.state = SequenceState.WAITING
        self.slot: int | None = None
        self.room = 0
        self.num_computed = 0
        self.chunk_end = 0
        self.prefill_end = 0
        self.num_cached = 0
        self.num_preemptions = 0
        self.keys = PrefixKeys(tenant, len(prompt_ids))  # see `name_blocks`
        self.drafts: DraftState | None = None
        self.output_ids: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.logprobs: list[TokenLogprob] = []
        self.num_logprobs_sent = 0
        # Of the prompt's tokens from the second on, where `params.prompt_logprobs` asks for them.
        self.prompt_scores: list[SampledToken] = []
        # Set where a vector is wanted of the prompt.
        self.pool: PooledStates | None = None
        # Set once `params.grammar` is compiled; advances with each token of the output.
        self.grammar: GrammarState | None = None
        self._seed = params.seed if params.seed is not None else secrets.randbits(64)
        # One private stream of random numbers: what else is in the batch cannot reach it.
        self.random = random.Random(self._seed)  # noqa: S311 - sampling, not cryptography

    @property
    def order(self) -> tuple[int, int]:
        """Sort key of the scheduler: the higher priority first, then the earlier arrival."""
        return (-self.priority, self.arrival)

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_ids) + len(self.output_ids)

    @property
    def num_pending(self) -> int:
        """Tokens to compute before the first, or the next, token can be decoded."""
        return self.prefill_end - self.num_computed

    @property
    def is_prompt_only(self) -> bool:
        """Whether it ends with its prompt: nothing is sampled."""
        return self.params.max_tokens == 0

    @property
    def wants_scores(self) -> bool:
        """Whether log probabilities of its prompt are still missing."""
        num_scores = len(self.prompt_scores)
        return self.params.prompt_logprobs is not None and num_scores < len(self.prompt_ids) - 1

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
        return self.prompt_ids[start:] + self.output_ids[: end - num_prompt]

    def name_blocks(self, *, rounds_alike: bool) -> None:
        """Start the names of this sequence's blocks afresh, before any of it is in the cache.

        With `rounds_alike` it makes no difference which tokens are prompt and which are output.
        """
        self.keys = PrefixKeys(self.tenant, None if rounds_alike else len(self.prompt_ids))

    def block_keys(self, num_tokens: int) -> list[bytes]:
        """The names of the whole blocks among the first `num_tokens`, for the cache."""
        return self.keys.up_to(num_tokens, self.tokens)

    def reusable_keys(self) -> list[bytes]:
        """The names of the blocks that may be taken from the cache instead of being computed."""
        if self.pool is not None or self.wants_scores:
            return []
        return self.block_keys(self.num_tokens - 1)

    def rewind_random(self) -> None:
        """Take back the numbers drawn for a token that was never added: a step is to be repeated.

        The sampler draws one number for each token of a sequence that is not greedy.
        """
        self.random = random.Random(self._seed)  # noqa: S311 - sampling, not cryptography
        if self.params.temperature > 0:
            for _ in self.output_ids:
                self.random.random()

    def move_to(self, state: SequenceState) -> None:
        """Change the state. Raises RuntimeError where the table of transitions forbids it."""
        if state not in ALLOWED_TRANSITIONS[self.state]:
            raise RuntimeError(f"{self.request_id}: {self.state} cannot become {state}")
        self.state = state

    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=len(self.prompt_ids),
            completion_tokens=len(self.output_ids),
            cached_tokens=self.num_cached,
        )

    def timings(self, now: float) -> Timings:
        """Seconds waited, until the first token, and computing, as of `now`."""
        started = self.started_at if self.started_at is not None else now
        first = self.first_token_at if self.first_token_at is not None else now
        return Timings(
            queue_time=started - self.received_at,
            ttft=first - self.received_at,
            inference_time=now - started,
        )
