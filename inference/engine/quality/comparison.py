"""What was measured of a model, and how two measurements compare (no torch).

A measurement keeps two numbers per position, so it is small enough to be stored and compared with
whatever is measured later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# The one place: a model that is served must not exceed float32's perplexity by more than this.
PERPLEXITY_LIMIT = 1.01
# The same for the decoded positions alone: they are too few to weigh much in the whole, and so few
# that a sound 8-bit model may miss the stricter limit by chance; a wrong decode path misses both.
DECODED_LIMIT = 1.03


@dataclass(frozen=True, slots=True)
class Scores:
    """Per position: the natural log-probability of the text's next token, and the likeliest id."""

    logprobs: tuple[float, ...] = ()
    top_ids: tuple[int, ...] = ()

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability; NaN where there is no position, or a NaN."""
        if not self.logprobs:
            return math.nan
        try:
            return math.exp(-math.fsum(self.logprobs) / len(self.logprobs))
        except OverflowError:
            return math.inf

    def __add__(self, other: Scores) -> Scores:
        return Scores(self.logprobs + other.logprobs, self.top_ids + other.top_ids)


@dataclass(frozen=True, slots=True)
class QualityResult:
    """The positions computed in prompt chunks, and those computed one by one in decode steps."""

    prefilled: Scores
    decoded: Scores

    @property
    def scores(self) -> Scores:
        """All positions."""
        return self.prefilled + self.decoded


@dataclass(frozen=True, slots=True)
class Comparison:
    """A measurement beside its reference. Differences are of log-probabilities of the text's tokens."""

    num_tokens: int
    perplexity: float
    reference_perplexity: float
    perplexity_ratio: float
    decoded_ratio: float
    top1_agreement: float
    decoded_agreement: float
    mean_difference: float
    max_difference: float

    @property
    def passes(self) -> bool:
        """Whether both perplexity ratios are within their limits; NaN is not."""
        return self.perplexity_ratio <= PERPLEXITY_LIMIT and self.decoded_ratio <= DECODED_LIMIT


def compare(measured: QualityResult, reference: QualityResult) -> Comparison:
    """Raises ValueError where the two are not of the same number of tokens."""
    for ours, theirs in (
        (measured.prefilled, reference.prefilled),
        (measured.decoded, reference.decoded),
    ):
        if len(ours.logprobs) != len(theirs.logprobs) or not ours.logprobs:
            raise ValueError(
                f"{len(ours.logprobs)} positions cannot be compared with {len(theirs.logprobs)}"
            )
    ours, theirs = measured.scores, reference.scores
    differences = [
        abs(a - b) for a, b in zip(ours.logprobs, theirs.logprobs, strict=True) if a != b
    ]
    return Comparison(
        num_tokens=len(ours.logprobs),
        perplexity=ours.perplexity,
        reference_perplexity=theirs.perplexity,
        perplexity_ratio=ours.perplexity / theirs.perplexity,
        decoded_ratio=measured.decoded.perplexity / reference.decoded.perplexity,
        top1_agreement=_agreement(ours, theirs),
        decoded_agreement=_agreement(measured.decoded, reference.decoded),
        mean_difference=math.fsum(differences) / len(ours.logprobs),
        max_difference=max(differences, default=0.0),
    )


def _agreement(ours: Scores, theirs: Scores) -> float:
    """The share, 0 to 1, of positions with the same likeliest token."""
    pairs = zip(ours.top_ids, theirs.top_ids, strict=True)
    return sum(a == b for a, b in pairs) / len(ours.top_ids)
