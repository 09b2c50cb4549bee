"""Chooses the next token of each row from the logits, vectorised over the batch.

A row's token depends on its own logits, parameters and random stream alone. The order of the steps is
transformers': penalties, temperature, top-k, top-p, min-p. A sampled row draws one uniform number
from its sequence's own generator and inverts the cumulative distribution (inverse transform
sampling), so a seed gives the same text in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import torch

from inference.engine.penalties import PenaltyTable
from inference.engine.sequence import Sequence

# Candidates that are sorted for a filtered row. More are sorted only where top_k asks for more, or
# top_p or min_p reach beyond them: a sort of the whole vocabulary costs far more than it changes.
# Fixed, since the order among equal logits could follow from it.
_NUM_CANDIDATES = 256
# Below this the best token has all the weight that float32 can tell apart: greedy, without dividing.
_MIN_TEMPERATURE = 1e-5


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A row's choice. `top` are (token id, natural-log probability), the best first."""

    token_id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Keeps the counts that penalties need; all else comes from the sequences."""

    def __init__(self, *, num_slots: int, vocab_size: int, eos_token_ids: SequenceOf[int]) -> None:
        self._penalties = PenaltyTable(num_slots=num_slots, vocab_size=vocab_size)
        self._eos = [token_id for token_id in eos_token_ids if token_id < vocab_size]

    def sample(
        self,
        logits: torch.Tensor,  # [rows, vocab] float32
        sequences: SequenceOf[Sequence],
    ) -> list[SampledToken | None]:
        """One token per row, in order; None for a row whose logits are not finite."""
        if not sequences:
            return []
        with torch.inference_mode():
            return self._sample(logits, sequences)

    def _sample(
        self, logits: torch.Tensor, sequences: SequenceOf[Sequence]
    ) -> list[SampledToken | None]:
        # A maximum that is NaN or infinite gives away a row that has gone wrong.
        is_sound = logits.amax(dim=-1).isfinite().tolist()
        reported = _log_probabilities(logits, sequences)
        adjusted = self._adjust(logits, sequences)
        chosen = adjusted.argmax(dim=-1)
        sampled = [i for i, s in enumerate(sequences) if is_sound[i] and _is_random(s)]
        if sampled:
            rows = torch.tensor(sampled, device=logits.device)
            chosen[rows] = _draw(adjusted[rows], [sequences[i] for i in sampled])
        tokens: list[SampledToken | None] = [
            _token(token_id, reported.get(index)) if is_sound[index] else None
            for index, token_id in enumerate(chosen.tolist())
        ]
        self._penalties.count(sequences, chosen)
        return tokens

    def _adjust(self, logits: torch.Tensor, sequences: SequenceOf[Sequence]) -> torch.Tensor:
        """The logits after penalties and `min_tokens`; a copy where anything changes."""
        adjusted = self._penalties.apply(logits, sequences)
        too_short = [
            index
            for index, sequence in enumerate(sequences)
            if len(sequence.output_ids) < sequence.params.min_tokens
        ]
        if too_short and self._eos:
            adjusted = adjusted.clone() if adjusted is logits else adjusted
            rows = torch.tensor(too_short, device=logits.device)
            adjusted[rows[:, None], torch.tensor(self._eos, device=logits.device)] = -torch.inf
        return adjusted


def _is_random(sequence: Sequence) -> bool:
    return sequence.params.temperature >= _MIN_TEMPERATURE


def _draw(logits: torch.Tensor, sequences: SequenceOf[Sequence]) -> torch.Tensor:
    """Token ids [rows] drawn from the filtered distributions of `logits` [rows, vocab]."""
    device = logits.device
    params = [sequence.params for sequence in sequences]
    temperature = torch.tensor([p.temperature for p in params], device=device)
    # Largest first: a tiny temperature then divides differences, and cannot overflow.
    scaled = (logits - logits.amax(dim=-1, keepdim=True)) / temperature[:, None]
    uniform = torch.tensor(
        [sequence.random.random() for sequence in sequences], dtype=torch.float64, device=device
    )
    tokens = torch.empty(len(params), dtype=torch.int64, device=device)
    is_filtered = [p.top_k > 0 or p.top_p < 1.0 or p.min_p > 0.0 for p in params]
    plain = [index for index, flag in enumerate(is_filtered) if not flag]
    if plain:
        rows = torch.tensor(plain, device=device)
        tokens[rows] = _invert(torch.softmax(scaled[rows], dim=-1), uniform[rows])
    filtered = [index for index, flag in enumerate(is_filtered) if flag]
    if filtered:
        rows = torch.tensor(filtered, device=device)
        tokens[rows] = _draw_filtered(
            scaled[rows], uniform[rows], [sequences[index] for index in filtered]
        )
    return tokens


def _draw_filtered(
    scaled: torch.Tensor, uniform: torch.Tensor, sequences: SequenceOf[Sequence]
) -> torch.Tensor:
    """Token ids [rows] of rows with top-k, top-p or min-p."""
    vocab_size = scaled.shape[-1]
    num_candidates = min(_NUM_CANDIDATES, vocab_size)
    # Weights relative to the best token (1.0), over the whole vocabulary.
    total = torch.exp(scaled).sum(dim=-1, dtype=torch.float64)
    best, ids = scaled.topk(num_candidates, dim=-1)
    weights = torch.exp(best).double()
    keep, is_enough = _filter(weights, total, sequences, is_whole=num_candidates == vocab_size)
    picks = _invert(weights * keep, uniform)
    tokens = ids.gather(-1, picks[:, None]).squeeze(-1)
    short = [index for index, enough in enumerate(is_enough) if not enough]
    if short:
        rows = torch.tensor(short, device=scaled.device)
        best, ids = scaled[rows].sort(dim=-1, descending=True, stable=True)
        weights = torch.exp(best).double()
        few = [sequences[index] for index in short]
        keep, _ = _filter(weights, total[rows], few, is_whole=True)
        picks = _invert(weights * keep, uniform[rows])
        tokens[rows] = ids.gather(-1, picks[:, None]).squeeze(-1)
    return tokens


def _filter(
    weights: torch.Tensor,  # [rows, candidates] float64, descending, the first is 1.0
    total: torch.Tensor,  # [rows] float64, the weight of the whole vocabulary
    sequences: SequenceOf[Sequence],
    *,
    is_whole: bool,
) -> tuple[torch.Tensor, list[bool]]:
    """Which candidates stay, and for which rows the candidates hold all that would stay."""
    device = weights.device
    num_candidates = weights.shape[-1]
    params = [sequence.params for sequence in sequences]
    top_k = torch.tensor([p.top_k or 2**62 for p in params], device=device)[:, None]
    top_p = torch.tensor([p.top_p for p in params], dtype=torch.float64, device=device)[:, None]
    min_p = torch.tensor([p.min_p for p in params], dtype=torch.float64, device=device)[:, None]
    rank = torch.arange(num_candidates, device=device)[None, :]
    keep = rank < top_k
    before = weights.cumsum(dim=-1) - weights  # the weight of all better candidates
    # top-p measures what top-k has left over.
    of_top_k = (weights * keep).sum(dim=-1, keepdim=True)
    mass = torch.where(top_k < num_candidates, of_top_k, total[:, None])
    # As long as the better ones do not reach p, a token belongs to the smallest set that does.
    keep &= (top_p >= 1.0) | (before < top_p * mass)
    keep &= weights >= min_p
    keep[:, 0] = True
    # The last candidate is out (and all behind it, since they are worse), or there are no others.
    is_enough = ~keep[:, -1] | (top_k[:, 0] <= num_candidates)
    return keep, [is_whole or bool(enough) for enough in is_enough.tolist()]


def _invert(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Index per row where the running sum of `weights` first exceeds `uniform` of the total.

    In float64: over 50,000 tokens a float32 sum would shift the tail.
    """
    running = weights.cumsum(dim=-1, dtype=torch.float64)
    target = uniform[:, None] * running[:, -1:]
    picks = (running <= target).sum(dim=-1)
    return picks.clamp_(max=weights.shape[-1] - 1)


def _log_probabilities(
    logits: torch.Tensor, sequences: SequenceOf[Sequence]
) -> dict[int, tuple[torch.Tensor, list[tuple[int, float]]]]:
    """By row that asks for it: log probabilities [vocab] of the plain logits, and the best ones."""
    wanted = [i for i, sequence in enumerate(sequences) if sequence.params.logprobs is not None]
    if not wanted:
        return {}
    log_probabilities = torch.log_softmax(
        logits[torch.tensor(wanted, device=logits.device)], dim=-1
    )
    most = max(sequences[index].params.logprobs or 0 for index in wanted)
    values, ids = log_probabilities.topk(min(most, logits.shape[-1]), dim=-1)
    value_lists, id_lists = values.tolist(), ids.tolist()
    reported: dict[int, tuple[torch.Tensor, list[tuple[int, float]]]] = {}
    for row, index in enumerate(wanted):
        count = sequences[index].params.logprobs or 0
        top = list(zip(id_lists[row][:count], value_lists[row][:count], strict=True))
        reported[index] = (log_probabilities[row], top)
    return reported


def _token(
    token_id: int, reported: tuple[torch.Tensor, list[tuple[int, float]]] | None
) -> SampledToken:
    if reported is None:
        return SampledToken(token_id)
    log_probabilities, top = reported
    return SampledToken(token_id, float(log_probabilities[token_id]), tuple(top))
