"""What one run showed: arrivals of tokens, and the figures that are made of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from llamagpu.lib.percentiles import percentiles

# Tokens that one step brought (guessed ones that held) may come as several pieces: one arrival.
_SAME_MOMENT = 0.001


@dataclass(frozen=True, slots=True)
class Trace:
    """One request as its caller saw it; times are seconds since the run began.

    An arrival is `(time, number of tokens)`: a server may send several tokens in one piece.
    """

    sent: float
    arrivals: tuple[tuple[float, int], ...]

    @property
    def num_tokens(self) -> int:
        return sum(count for _, count in self.arrivals)


@dataclass(frozen=True, slots=True)
class Figures:
    """One run in numbers. Times are seconds; None where the run had too few tokens to tell."""

    num_requests: int
    prompt_tokens: int
    new_tokens: int
    wall: float
    tokens_per_second: float
    prompt_tokens_per_second: float
    ttft_p50: float
    gap_p50: float | None
    gap_p99: float | None


@dataclass(frozen=True, slots=True)
class Spread:
    """Several repetitions of one figure."""

    median: float
    low: float
    high: float
    count: int


class IncompleteRunError(Exception):
    """A request did not bring the tokens that were asked for: the run's figures would be false."""


def summarize(traces: Sequence[Trace], *, prompt_tokens: int, new_tokens: int) -> Figures:
    """The figures of a run whose requests each had these lengths. Raises IncompleteRunError.

    `tokens_per_second` counts new tokens over the whole run, prefill included.
    `prompt_tokens_per_second` is the speed at which a prompt was read, up to its first new token.
    """
    for trace in traces:
        if trace.num_tokens != new_tokens:
            raise IncompleteRunError(
                f"a request brought {trace.num_tokens} tokens where {new_tokens} were asked for"
            )
    if not traces:
        raise IncompleteRunError("no request was made")
    wall = max(trace.arrivals[-1][0] for trace in traces) - min(trace.sent for trace in traces)
    waits = [trace.arrivals[0][0] - trace.sent for trace in traces]
    # The time between two arrivals is what a reader sees, however many tokens come in one piece.
    gaps = [
        later - earlier
        for trace in traces
        for (earlier, _), (later, _) in pairwise(trace.arrivals)
        if later - earlier >= _SAME_MOMENT
    ]
    gap_ranks = percentiles(gaps)
    ttft = statistics.median(waits)
    return Figures(
        num_requests=len(traces),
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        wall=wall,
        tokens_per_second=sum(trace.num_tokens for trace in traces) / wall,
        prompt_tokens_per_second=prompt_tokens / ttft,
        ttft_p50=ttft,
        gap_p50=gap_ranks["p50"],
        gap_p99=gap_ranks["p99"],
    )


def spread(values: Iterable[float]) -> Spread:
    """Median and extremes of at least one value."""
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1], len(ordered))
