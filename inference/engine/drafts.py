"""Which decoding sequences get guesses to verify, and how many: only as long as it pays (no torch).

A guess changes no text: the model computes the guessed tokens' rows at once and keeps those that it
would have chosen itself (Leviathan et al., 2023, at temperature 0). It costs the extra rows, so each
sequence's share of right guesses and the measured cost of steps decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from inference.engine.prompt_lookup import PromptLookup
from inference.engine.sequence import Sequence
from inference.protocol import SamplingParams

_FIRST_LENGTH = 3
_FIRST_PAUSE = 16
_LONGEST_PAUSE = 512
# Tokens per verification, remembered with this weight per step; hopeful at first.
_WEIGHT = 0.3
_HOPE = 2.0
_HOPE_AFTER_PAUSE = 1.4
# A step with drafts over one without, until both were measured; kept within these bounds.
_FIRST_COST = 1.2
_COST_BOUNDS = (1.05, 4.0)
_TIME_WEIGHT = 0.1
_GREEDY_BELOW = 1e-5
_DEFAULTS = SamplingParams()


@dataclass(slots=True)
class DraftState:
    """What one sequence's guesses were worth. `resume_at` counts output tokens."""

    lookup: PromptLookup
    length: int = _FIRST_LENGTH
    tokens_per_step: float = _HOPE
    pause: int = _FIRST_PAUSE
    resume_at: int = 0


class Drafts:
    """Proposes for sequences, learns from what came of it. The loop's thread calls it."""

    def __init__(self, max_drafts: int) -> None:
        """At most `max_drafts` tokens are guessed at a time; 0 guesses none."""
        self._max_drafts = max_drafts
        self._plain_seconds = 0.0
        self._draft_seconds = 0.0

    def propose(self, sequence: Sequence) -> tuple[int, ...]:
        """Tokens that may follow the sequence's last one; none where guessing does not pay."""
        num_output = len(sequence.output_ids)
        left = sequence.params.max_tokens - num_output - 1
        limit = min(self._max_drafts, left)
        if limit < 1 or not _is_plain_greedy(sequence.params):
            return ()
        state = sequence.drafts
        if state is None:
            state = sequence.drafts = DraftState(PromptLookup(sequence.prompt_ids))
        known = len(state.lookup) - len(sequence.prompt_ids)
        state.lookup.extend(sequence.output_ids[known:])
        if num_output < state.resume_at:
            return ()
        return tuple(state.lookup.propose(min(limit, state.length)))

    def learn(self, sequence: Sequence, num_drafts: int, num_accepted: int) -> None:
        """Note that of `num_drafts` guesses the first `num_accepted` were right."""
        state = sequence.drafts
        if state is None:
            return
        state.tokens_per_step += _WEIGHT * (1 + num_accepted - state.tokens_per_step)
        if num_accepted == num_drafts:
            state.length = min(self._max_drafts, 2 * state.length)
        else:
            state.length = min(self._max_drafts, num_accepted + 1)
        if state.tokens_per_step < self._cost():
            state.resume_at = len(sequence.output_ids) + state.pause
            state.pause = min(_LONGEST_PAUSE, 2 * state.pause)
            state.tokens_per_step = _HOPE_AFTER_PAUSE
        elif num_accepted == num_drafts:
            state.pause = _FIRST_PAUSE

    def note_time(self, seconds: float, *, has_drafts: bool) -> None:
        """Note how long a step of decodes took, with or without guesses in it."""
        if has_drafts:
            self._draft_seconds = _average(self._draft_seconds, seconds)
        else:
            self._plain_seconds = _average(self._plain_seconds, seconds)

    def _cost(self) -> float:
        """A step with drafts, in steps without."""
        if not self._plain_seconds or not self._draft_seconds:
            return _FIRST_COST
        low, high = _COST_BOUNDS
        return min(high, max(low, self._draft_seconds / self._plain_seconds))


def _is_plain_greedy(params: SamplingParams) -> bool:
    """Whether the best token is chosen whatever was chosen before, and nothing else is asked for.

    All that is not named here must be as by default: a new parameter is no reason to guess wrong.
    """
    if params.temperature >= _GREEDY_BELOW:
        return False
    return replace(
        params, temperature=_DEFAULTS.temperature, top_p=_DEFAULTS.top_p, top_k=_DEFAULTS.top_k,
        min_p=_DEFAULTS.min_p, seed=_DEFAULTS.seed, max_tokens=_DEFAULTS.max_tokens,
        stop=_DEFAULTS.stop, ignore_eos=_DEFAULTS.ignore_eos,
    ) == _DEFAULTS  # fmt: skip


def _average(old: float, new: float) -> float:
    return new if not old else old + _TIME_WEIGHT * (new - old)
