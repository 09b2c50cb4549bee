"""The tokens that the grammars of a step allow: filled on the host while the model computes."""

from __future__ import annotations

import os
from collections.abc import Sequence as SequenceOf
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from inference.engine.grammar import GrammarState
from inference.engine.sequence import Sequence

_WORD_BITS = 32
# Half of the cores: the model computes at the same time.
_NUM_THREADS = max(1, (os.cpu_count() or 1) // 2)

Words = np.ndarray[Any, np.dtype[np.int32]]


class TokenMasks:
    """Fills one row per sequence that has a grammar, and applies them to the logits."""

    def __init__(self, vocab_size: int, eos_token_ids: SequenceOf[int]) -> None:
        self._vocab_size = vocab_size
        self._num_words = -(-vocab_size // _WORD_BITS)
        bits = np.zeros(self._num_words * _WORD_BITS, np.uint8)
        bits[list(eos_token_ids)] = 1
        self._end: Words = np.packbits(bits, bitorder="little").view(np.int32)
        self._threads: ThreadPoolExecutor | None = None
        self._grammars: list[GrammarState] = []
        self._rows: list[Future[None]] = []
        self._allowed: Words = np.empty((0, self._num_words), np.int32)

    def prepare(self, sequences: SequenceOf[Sequence]) -> None:
        """Begin to fill the masks of those that have a grammar; returns at once."""
        grammars = [s.grammar for s in sequences if s.grammar is not None]
        self._wait()
        self._grammars = grammars
        if not grammars:
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="grammar")
        self._allowed = np.empty((len(grammars), self._num_words), np.int32)
        self._rows = [
            self._threads.submit(grammar.fill, row, self._end)
            for grammar, row in zip(grammars, self._allowed, strict=True)
        ]

    def apply(
        self, logits: torch.Tensor, sequences: SequenceOf[Sequence], *, is_copy: bool
    ) -> torch.Tensor:
        """The logits [rows, vocab] with minus infinity where a grammar forbids the token.

        Changed in place where they are a copy. Rows that nobody prepared are filled now.
        """
        rows = [row for row, sequence in enumerate(sequences) if sequence.grammar is not None]
        if not rows:
            return logits
        if [sequences[row].grammar for row in rows] != self._grammars:
            self.prepare(sequences)
        self._wait()
        self._grammars = []
        forbidden = np.unpackbits((~self._allowed).view(np.uint8), axis=-1, bitorder="little")
        forbidden = forbidden[:, : self._vocab_size].view(np.bool_)
        mask = torch.from_numpy(forbidden).to(logits.device)
        if not is_copy:
            logits = logits.clone()
        if len(rows) == len(sequences):
            return logits.masked_fill_(mask, -torch.inf)
        index = torch.tensor(rows, device=logits.device)
        logits[index] = logits[index].masked_fill_(mask, -torch.inf)
        return logits

    def _wait(self) -> None:
        """Until nobody fills: a step that failed leaves its masks behind."""
        for row in self._rows:
            row.result()
        self._rows = []
