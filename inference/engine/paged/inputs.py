"""A step's numbers on the device: all of them in one buffer, so that one copy brings them there.

The host's side of the buffer is pinned where the device is a GPU, so that the copy is asynchronous
and the host goes on at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from inference.engine.kv_cache.page_pool import SCRATCH_PAGE
from inference.engine.paged.rows import PagedRows, row_borders

_LONG, _INT = torch.int64.itemsize, torch.int32.itemsize


@dataclass(frozen=True, slots=True)
class InputShape:
    """T rows, S rows with logits, N sequences, P columns of the block table."""

    num_rows: int
    num_logit_rows: int
    num_sequences: int
    num_pages: int

    @classmethod
    def of(cls, rows: PagedRows) -> InputShape:
        return cls(len(rows.token_ids), len(rows.logit_rows), len(rows.counts), rows.num_pages)

    @property
    def long_sizes(self) -> list[int]:
        return [self.num_rows, self.num_rows, self.num_rows, self.num_logit_rows]

    @property
    def int_sizes(self) -> list[int]:
        num = self.num_sequences
        return [num + 1, num, num + 1, num * self.num_pages]

    @property
    def num_bytes(self) -> int:
        return _LONG * sum(self.long_sizes) + _INT * sum(self.int_sizes)


@dataclass(frozen=True, slots=True)
class StepInputs:
    """Views into one buffer."""

    shape: InputShape
    buffer: torch.Tensor  # uint8
    token_ids: torch.Tensor  # [T] int64
    positions: torch.Tensor  # [T] int64
    places: torch.Tensor  # [T] int64
    logit_rows: torch.Tensor  # [S] int64
    row_borders: torch.Tensor  # [N + 1] int32
    lengths: torch.Tensor  # [N] int32
    length_borders: torch.Tensor  # [N + 1] int32
    tables: torch.Tensor  # [N, P] int32

    @classmethod
    def over(cls, buffer: torch.Tensor, shape: InputShape) -> StepInputs:
        """The views of `shape` into the beginning of `buffer` (uint8, large enough)."""
        split = _LONG * sum(shape.long_sizes)
        longs = buffer[:split].view(torch.int64).split(shape.long_sizes)
        ints = buffer[split : shape.num_bytes].view(torch.int32).split(shape.int_sizes)
        token_ids, positions, places, logit_rows = longs
        row_borders, lengths, length_borders, tables = ints
        return cls(
            shape=shape,
            buffer=buffer[: shape.num_bytes],
            token_ids=token_ids,
            positions=positions,
            places=places,
            logit_rows=logit_rows,
            row_borders=row_borders,
            lengths=lengths,
            length_borders=length_borders,
            tables=tables.view(shape.num_sequences, shape.num_pages),
        )

    def to(self, device: torch.device) -> StepInputs:
        """The same numbers on another device."""
        return StepInputs.over(self.buffer.to(device, non_blocking=True), self.shape)

    def fill(self, rows: PagedRows) -> None:
        """Write the numbers of `rows`, which must have this shape or fewer pages."""
        _write(self.token_ids, rows.token_ids)
        _write(self.positions, rows.positions)
        _write(self.places, rows.places)
        _write(self.logit_rows, rows.logit_rows)
        _write(self.row_borders, row_borders(rows.counts))
        _write(self.lengths, rows.lengths)
        _write(self.length_borders, row_borders(rows.lengths))
        # Columns beyond a sequence's pages count for nothing, but must name a page that exists.
        tables = self.tables.numpy()
        tables[:] = SCRATCH_PAGE
        for index, table in enumerate(rows.tables):
            tables[index, : len(table)] = table


class InputStaging:
    """Brings rows to `device`. One thread uses it, one step at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_gpu = device.type == "cuda"
        self._host = torch.empty(0, dtype=torch.uint8)
        self._is_copied: torch.cuda.Event | None = None

    def upload(self, rows: PagedRows) -> StepInputs:
        """The inputs of a step of any shape, in a buffer of their own on the device."""
        shape = InputShape.of(rows)
        host = self._fill(rows, shape)
        if not self._is_gpu:
            return StepInputs.over(host.buffer.clone(), shape)
        target = torch.empty(shape.num_bytes, dtype=torch.uint8, device=self._device)
        self._copy(host, target)
        return StepInputs.over(target, shape)

    def refill(self, rows: PagedRows, target: StepInputs) -> None:
        """Overwrite `target`, the fixed buffer of a graph, with rows that fit its shape."""
        self._copy(self._fill(rows, target.shape), target.buffer)

    def _fill(self, rows: PagedRows, shape: InputShape) -> StepInputs:
        if self._is_copied is not None:
            # The last step's copy may still read the buffer; by now it has long ended.
            self._is_copied.synchronize()
        if self._host.numel() < shape.num_bytes:
            self._host = torch.empty(
                shape.num_bytes * 2, dtype=torch.uint8, pin_memory=self._is_gpu
            )
        host = StepInputs.over(self._host, shape)
        host.fill(rows)
        return host

    def _copy(self, host: StepInputs, target: torch.Tensor) -> None:
        target.copy_(host.buffer, non_blocking=self._is_gpu)
        if self._is_gpu:
            self._is_copied = self._is_copied or torch.cuda.Event()
            self._is_copied.record()


def _write(target: torch.Tensor, values: Sequence[int]) -> None:
    target.numpy()[:] = values
