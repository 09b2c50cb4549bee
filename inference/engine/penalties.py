"""Repetition, presence and frequency penalties, and logit bias: changes to a few of a row's logits.

Repetition (Keskar et al., CTRL, 2019) looks at prompt and output, presence and frequency (OpenAI's
API reference) at the output; a bias belongs to a token. Only tokens that were seen or named are
touched, so that a step costs as little with a vocabulary of 200,000 as with one of 500. What was
seen is read from the sequence itself: it may change its place in the cache without losing count.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence as SequenceOf
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from inference.engine.sequence import Sequence
from inference.protocol import SamplingParams


class _Seen:
    """The distinct tokens of one sequence, in the order of their first appearance, and their counts.

    `counts` counts the output alone: a token of the prompt begins at 0.
    """

    def __init__(self, prompt_ids: SequenceOf[int]) -> None:
        self.ids = array("q", dict.fromkeys(prompt_ids))
        self.counts = array("i", bytes(4 * len(self.ids)))
        self._positions = {token_id: index for index, token_id in enumerate(self.ids)}
        self._num_read = 0

    def catch_up(self, output_ids: list[int]) -> None:
        """Count the tokens that came since the last call."""
        for token_id in output_ids[self._num_read :]:
            position = self._positions.setdefault(token_id, len(self.ids))
            if position == len(self.ids):
                self.ids.append(token_id)
                self.counts.append(0)
            self.counts[position] += 1
        self._num_read = len(output_ids)


class LogitChanges:
    """Applies penalties and biases. Keeps what it has counted for as long as a sequence lives."""

    def __init__(self) -> None:
        self._seen: WeakKeyDictionary[Sequence, _Seen] = WeakKeyDictionary()

    def apply(self, logits: torch.Tensor, sequences: SequenceOf[Sequence]) -> torch.Tensor:
        """The logits [rows, vocab] with penalties, then biases: a new tensor where any row has one."""
        penalised = [row for row, sequence in enumerate(sequences) if has_penalty(sequence.params)]
        biased = [row for row, sequence in enumerate(sequences) if sequence.params.logit_bias]
        if not penalised and not biased:
            return logits
        adjusted = logits.clone()
        if penalised:
            self._penalise(adjusted, penalised, [sequences[row] for row in penalised])
        if biased:
            _add_biases(adjusted, biased, [sequences[row].params for row in biased])
        return adjusted

    def _penalise(self, logits: torch.Tensor, rows: list[int], sequences: list[Sequence]) -> None:
        """Change the logits [all rows, vocab] of `rows` in place, at the tokens they have seen."""
        seen = [self._read(sequence) for sequence in sequences]
        lengths = [len(entry.ids) for entry in seen]
        device = logits.device
        # Copied into one array: a buffer that someone looks into could not grow.
        ids = np.concatenate([np.frombuffer(entry.ids, np.int64) for entry in seen])
        counts = np.concatenate([np.frombuffer(entry.counts, np.int32) for entry in seen])
        where = (_to(np.repeat(rows, lengths), device), _to(ids, device))

        def column(values: list[float]) -> torch.Tensor:
            return _to(np.repeat(np.array(values, np.float32), lengths), device)

        repetition = column([s.params.repetition_penalty for s in sequences])
        frequency = column([s.params.frequency_penalty for s in sequences])
        presence = column([s.params.presence_penalty for s in sequences])
        times = _to(counts, device)
        values = logits[where]
        values = torch.where(values > 0, values / repetition, values * repetition)
        logits[where] = values - frequency * times - presence * (times > 0)

    def _read(self, sequence: Sequence) -> _Seen:
        seen = self._seen.get(sequence)
        if seen is None:
            seen = self._seen[sequence] = _Seen(sequence.prompt_ids)
        seen.catch_up(sequence.output_ids)
        return seen


def _add_biases(logits: torch.Tensor, rows: list[int], params: list[SamplingParams]) -> None:
    """Add to the logits [all rows, vocab] of `rows` in place. A token is listed once at most."""
    lengths = [len(p.logit_bias) for p in params]
    pairs = np.array([pair for p in params for pair in p.logit_bias], np.float64)
    device = logits.device
    where = (_to(np.repeat(rows, lengths), device), _to(pairs[:, 0].astype(np.int64), device))
    logits[where] += _to(pairs[:, 1].astype(np.float32), device)


def _to(values: np.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(values).to(device)


def has_penalty(params: SamplingParams) -> bool:
    """Whether any of the three penalties changes anything."""
    return (
        params.repetition_penalty != 1.0
        or params.presence_penalty != 0.0
        or params.frequency_penalty != 0.0
    )
