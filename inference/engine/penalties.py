"""Repetition, presence and frequency penalties, with the counts they are computed from.

Repetition (Keskar et al., CTRL, 2019) looks at prompt and output, presence and frequency (OpenAI's
API reference) at the output. The counts live on the device, a row per slot, so that a step costs
the same after ten tokens and after ten thousand; they exist only once a request asks for penalties.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import torch

from inference.engine.sequence import Sequence
from inference.protocol import SamplingParams


class PenaltyTable:
    """Token counts per slot: [slots, vocab] in the prompt (0 or 1) and in the output."""

    def __init__(self, *, num_slots: int, vocab_size: int) -> None:
        self._shape = (num_slots, vocab_size)
        self._in_prompt: torch.Tensor | None = None
        self._in_output: torch.Tensor | None = None
        # Whose counts a slot's row holds: slots change hands without notice.
        self._owners: dict[int, Sequence] = {}

    def apply(self, logits: torch.Tensor, sequences: SequenceOf[Sequence]) -> torch.Tensor:
        """The logits [rows, vocab] with penalties: a new tensor where any row has one."""
        rows = [index for index, sequence in enumerate(sequences) if has_penalty(sequence.params)]
        if not rows:
            return logits
        chosen = [sequences[index] for index in rows]
        in_prompt, in_output = self._counts(chosen, logits.device)
        slots = torch.tensor([sequence.slot for sequence in chosen], device=logits.device)
        counts = in_output[slots]

        def column(values: list[float]) -> torch.Tensor:
            return torch.tensor(values, dtype=logits.dtype, device=logits.device)[:, None]

        repetition = column([s.params.repetition_penalty for s in chosen])
        frequency = column([s.params.frequency_penalty for s in chosen])
        presence = column([s.params.presence_penalty for s in chosen])
        index = torch.tensor(rows, device=logits.device)
        values = logits[index]
        is_seen = in_prompt[slots] | (counts > 0)
        repeated = torch.where(values > 0, values / repetition, values * repetition)
        values = torch.where(is_seen, repeated, values)
        values = values - frequency * counts - presence * (counts > 0)
        adjusted = logits.clone()
        adjusted[index] = values
        return adjusted

    def count(self, sequences: SequenceOf[Sequence], token_ids: torch.Tensor) -> None:
        """Note the tokens [rows] that were chosen."""
        rows = [index for index, sequence in enumerate(sequences) if has_penalty(sequence.params)]
        if not rows or self._in_output is None:
            return
        slots = torch.tensor([sequences[i].slot for i in rows], device=token_ids.device)
        self._in_output[slots, token_ids[torch.tensor(rows, device=token_ids.device)]] += 1

    def _counts(
        self, sequences: SequenceOf[Sequence], device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self._in_prompt is None or self._in_output is None:
            self._in_prompt = torch.zeros(self._shape, dtype=torch.bool, device=device)
            self._in_output = torch.zeros(self._shape, dtype=torch.int32, device=device)
        for sequence in sequences:
            slot = sequence.slot
            if slot is None or self._owners.get(slot) is sequence:
                continue
            self._owners[slot] = sequence
            self._in_prompt[slot] = False
            self._in_prompt[slot, torch.tensor(sequence.prompt_ids, device=device)] = True
            self._in_output[slot] = 0
        return self._in_prompt, self._in_output


def has_penalty(params: SamplingParams) -> bool:
    """Whether any of the three penalties changes anything."""
    return (
        params.repetition_penalty != 1.0
        or params.presence_penalty != 0.0
        or params.frequency_penalty != 0.0
    )
