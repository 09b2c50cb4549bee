"""Keeps steps short: how many prompt tokens fit into the time that one step may take (no torch).

A step cannot be interrupted. While it lasts no stream moves and no cancellation takes effect, so a
large model on a slow machine gets fewer tokens a step than `prefill_budget` allows.
"""

from __future__ import annotations

from inference.engine.tiling import TILE

# Seconds of a step while others wait for their next token, and while nobody does.
_SHARED_STEP = 0.25
_LONE_STEP = 0.6
# Weight of the newest measurement; one slow step must not starve the prompts after it.
_WEIGHT = 0.3
# Tokens of the first step, when nothing is known.
_FIRST_STEP = 4 * TILE


class StepPace:
    """Learns from the steps that computed prompts. The loop's thread calls it."""

    def __init__(self) -> None:
        self._seconds_per_token: float | None = None

    def note(self, num_tokens: int, seconds: float) -> None:
        """A step with `num_tokens` rows, prompts among them, took so long."""
        measured = seconds / max(num_tokens, TILE)
        if self._seconds_per_token is None:
            self._seconds_per_token = measured
        else:
            self._seconds_per_token += _WEIGHT * (measured - self._seconds_per_token)

    def most_tokens(self, *, is_shared: bool) -> int:
        """Tokens of the next step, whole tiles and at least one; `is_shared`: others decode in it."""
        if self._seconds_per_token is None:
            return _FIRST_STEP
        limit = _SHARED_STEP if is_shared else _LONE_STEP
        return max(TILE, int(limit / self._seconds_per_token) // TILE * TILE)

    def forget(self) -> None:
        """What computes is another now."""
        self._seconds_per_token = None
