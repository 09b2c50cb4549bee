"""Chooses the next token of each row from the logits, vectorised over the batch.

A row's token depends on its own logits, parameters and random stream alone, so a seed gives the same
text in any batch. The order of the steps: penalties, logit bias, grammar and `min_tokens`, then the
best token of a greedy row, or a draw by temperature, top-k, top-p and min-p.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import torch

from inference.engine.drawing import draw
from inference.engine.logprobs import log_probabilities
from inference.engine.penalties import LogitChanges
from inference.engine.sequence import Sequence
from inference.engine.token_masks import TokenMasks

# Below this the best token has all the weight that float32 can tell apart: greedy, without dividing.
_MIN_TEMPERATURE = 1e-5


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A row's choice. `top` are (token id, natural-log probability), the best first."""

    token_id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """One for the engine's loop. `prepare` before the forward pass, `sample` after it."""

    def __init__(self, *, vocab_size: int, eos_token_ids: SequenceOf[int]) -> None:
        self._eos = [token_id for token_id in eos_token_ids if token_id < vocab_size]
        self._changes = LogitChanges()
        self._masks = TokenMasks(vocab_size, self._eos)

    def prepare(self, sequences: SequenceOf[Sequence]) -> None:
        """Begin what the host can do while the model computes these sequences' next tokens."""
        self._masks.prepare(sequences)

    def sample(
        self,
        logits: torch.Tensor,  # [rows, vocab] float32
        sequences: SequenceOf[Sequence],
    ) -> list[SampledToken | None]:
        """One token per row, in order; None for a row without a finite best logit.

        The logits stay as they are.
        """
        if not sequences:
            return []
        with torch.inference_mode():
            return self._sample(logits, sequences)

    def _sample(
        self, logits: torch.Tensor, sequences: SequenceOf[Sequence]
    ) -> list[SampledToken | None]:
        reported = log_probabilities(logits, sequences)
        adjusted = self._adjust(logits, sequences)
        chosen, values = _best(adjusted)
        # A maximum that is NaN or infinite gives away a row that has gone wrong.
        is_sound = [math.isfinite(value) for value in values]
        sampled = [i for i, s in enumerate(sequences) if is_sound[i] and _is_random(s)]
        if sampled:
            self._draw(adjusted, values, sequences, sampled, chosen)
        tokens: list[SampledToken | None] = [
            SampledToken(token_id) if is_sound[row] else None for row, token_id in enumerate(chosen)
        ]
        if reported is not None:
            logprobs = reported.of(chosen)
            for row, top in zip(reported.rows, reported.top, strict=True):
                if is_sound[row]:
                    tokens[row] = SampledToken(chosen[row], logprobs[row], top)
        return tokens

    def _draw(
        self,
        logits: torch.Tensor,
        values: list[float],
        sequences: SequenceOf[Sequence],
        sampled: list[int],
        chosen: list[int],
    ) -> None:
        """Replace the token of each row in `sampled` by one drawn at random."""
        best = torch.tensor([values[row] for row in sampled], device=logits.device)
        if len(sampled) < len(sequences):
            logits = logits[torch.tensor(sampled, device=logits.device)]
        drawn = draw(logits, best, [sequences[row] for row in sampled])
        for row, token_id in zip(sampled, drawn, strict=True):
            chosen[row] = token_id

    def _adjust(self, logits: torch.Tensor, sequences: SequenceOf[Sequence]) -> torch.Tensor:
        """The logits after all that a request may change; a copy where anything changes."""
        adjusted = self._changes.apply(logits, sequences)
        adjusted = self._masks.apply(adjusted, sequences, is_copy=adjusted is not logits)
        too_short = [row for row, sequence in enumerate(sequences) if _must_go_on(sequence)]
        if too_short and self._eos:
            adjusted = adjusted.clone() if adjusted is logits else adjusted
            rows = torch.tensor(too_short, device=logits.device)
            adjusted[rows[:, None], torch.tensor(self._eos, device=logits.device)] = -torch.inf
        return adjusted


def _is_random(sequence: Sequence) -> bool:
    return sequence.params.temperature >= _MIN_TEMPERATURE


def _must_go_on(sequence: Sequence) -> bool:
    """Whether the end token is not to be chosen. A grammar that has come to its end has the word."""
    params = sequence.params
    grammar = sequence.grammar
    if grammar is not None:
        is_held = params.ignore_eos or len(sequence.output_ids) < params.min_tokens
        return is_held and not grammar.must_end
    return len(sequence.output_ids) < params.min_tokens


def _best(logits: torch.Tensor) -> tuple[list[int], list[float]]:
    """Per row of [rows, vocab] the best token and its logit; a NaN counts as the best."""
    if logits.device.type == "cpu":
        # numpy's search runs at memory speed, torch's at a tenth of it.
        array = logits.numpy()
        ids = array.argmax(axis=-1)
        return ids.tolist(), array[range(len(ids)), ids].tolist()
    values, indices = logits.max(dim=-1)
    # One transfer for both: float64 holds any token id exactly.
    both = torch.stack((indices.double(), values.double())).tolist()
    return [int(token_id) for token_id in both[0]], both[1]
