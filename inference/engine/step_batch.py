"""A step's plan as index tensors, and the masks that follow from it.

Built once per step on the host; the layers of the model then only read it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from inference.engine.kv_cache.slots import SPAN_PER_DECODE
from inference.engine.step_plan import StepPlan
from inference.engine.tiling import TILE, pad_rows, read_length


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows `row`.. of the packed row are positions `start`.. of the sequence in `slot`."""

    row: int
    num_rows: int
    slot: int
    start: int

    @property
    def num_padded(self) -> int:
        """Rows that its attention computes: a multiple of ROW_MULTIPLE, never beyond the tile."""
        return pad_rows(self.num_rows)

    def first_key(self, window: int | None) -> int:
        """The first position, a multiple of TILE, that any of the rows may attend to."""
        if window is None:
            return 0
        return max(0, self.start - window + 1) // TILE * TILE


@dataclass(frozen=True, slots=True)
class RowRun:
    """Rows `row`.. of the packed row decode positions `start`.. of the sequence in `slot`."""

    row: int
    num_rows: int
    slot: int
    start: int

    @property
    def length(self) -> int:
        """How many positions its rows read."""
        return read_length(self.start + self.num_rows)


class StepBatch:
    """Index tensors of one step. T counts the rows of tokens, before padding."""

    def __init__(self, plan: StepPlan, device: torch.device) -> None:
        self.device = device
        self.num_decodes = len(plan.decodes)
        token_ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        sampled_rows: list[int] = []
        self.runs: list[RowRun] = []
        self.tiles: list[Tile] = []
        for sequence in plan.decodes:
            position = sequence.num_computed
            sampled_rows.append(len(token_ids))
            token_ids += sequence.tokens(position, position + 1)
            positions.append(position)
            slots.append(_slot(sequence.slot))
        for rows in plan.verifications:
            slot = _slot(rows.sequence.slot)
            self.runs.append(RowRun(len(token_ids), rows.num_rows, slot, rows.start))
            token_ids += rows.token_ids
            positions += range(rows.start, rows.end)
            slots += [slot] * rows.num_rows
            sampled_rows += range(len(token_ids) - rows.logit_rows, len(token_ids))
        for chunk in plan.chunks:
            slot = _slot(chunk.sequence.slot)
            for start in range(chunk.start, chunk.end, TILE):
                num_rows = min(TILE, chunk.end - start)
                row = len(token_ids) + start - chunk.start
                self.tiles.append(Tile(row, num_rows, slot, start))
            token_ids += chunk.sequence.tokens(chunk.start, chunk.end)
            positions += range(chunk.start, chunk.end)
            slots += [slot] * (chunk.end - chunk.start)
            sampled_rows += range(len(token_ids) - chunk.logit_rows, len(token_ids))
        self.num_rows = len(token_ids)
        self.num_sampled = len(sampled_rows)
        self.input_ids = self._tensor(_pad(token_ids))
        self.padded_positions = self._tensor(_pad(positions))
        self.positions = self.padded_positions[: self.num_rows]
        self.slots = self._tensor(slots)
        # The head's product is padded like all others, though a step of mere chunks needs none.
        self.sampled_rows = self._tensor(_pad(sampled_rows))
        self._plan_decode(slots[: self.num_decodes], positions[: self.num_decodes])
        self._masks: dict[tuple[object, ...], torch.Tensor] = {}

    def _plan_decode(self, slots: list[int], positions: list[int]) -> None:
        """Sets `decode_span` (the slots read in place, None: gathered), rows and length."""
        self.decode_span: slice | None = None
        self.decode_length = 0
        self.decode_rows = self._tensor(range(len(slots)))
        if not slots:
            return
        self.decode_length = read_length(max(positions) + 1)
        low, high = min(slots), max(slots) + 1
        if high - low <= SPAN_PER_DECODE * len(slots):
            self.decode_span = slice(low, high)
            self.decode_rows = self.slots[: len(slots)] - low
        num_read = high - low if self.decode_span is not None else len(slots)
        # Rows of idle slots attend to position 0: their output is dropped, but must be finite.
        ends = torch.zeros(num_read, dtype=torch.int64, device=self.device)
        ends[self.decode_rows] = self.positions[: len(slots)]
        self._decode_ends = ends

    def decode_mask(self, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """[rows read, 1, 1, decode_length]: 0 where a row may look, minus infinity elsewhere."""
        key = ("decode", window, dtype)
        if key not in self._masks:
            places = torch.arange(self.decode_length, device=self.device)
            visible = _visible(self._decode_ends[:, None], places[None, :], window)
            self._masks[key] = _additive(visible, dtype)[:, None, None, :]
        return self._masks[key]

    def run_mask(self, run: RowRun, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """[rows of the run, 1, 1, positions it reads]."""
        key = ("run", run.row, window, dtype)
        if key not in self._masks:
            places = torch.arange(run.length, device=self.device)
            ends = torch.arange(run.start, run.start + run.num_rows, device=self.device)
            visible = _visible(ends[:, None], places[None, :], window)
            self._masks[key] = _additive(visible, dtype)[:, None, None, :]
        return self._masks[key]

    def tile_mask(self, tile: Tile, window: int | None, dtype: torch.dtype) -> torch.Tensor:
        """[padded rows of the tile, keys from `first_key` to the tile's end]."""
        key = (tile.start, tile.num_padded, window, dtype)
        if key not in self._masks:
            first = tile.first_key(window)
            places = torch.arange(first, tile.start + TILE, device=self.device)
            rows = torch.arange(tile.start, tile.start + tile.num_padded, device=self.device)
            visible = _visible(rows[:, None], places[None, :], window)
            self._masks[key] = _additive(visible, dtype)
        return self._masks[key]

    def _tensor(self, values: list[int] | range) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)


def _pad(values: list[int]) -> list[int]:
    """`values` and zeros up to a multiple of ROW_MULTIPLE, and at least that many."""
    return values + [0] * (pad_rows(max(1, len(values))) - len(values))


def _visible(rows: torch.Tensor, places: torch.Tensor, window: int | None) -> torch.Tensor:
    visible = places <= rows
    if window is not None:
        visible &= places > rows - window
    return visible


def _additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(
        ~visible, -torch.inf
    )


def _slot(slot: int | None) -> int:
    if slot is None:
        raise RuntimeError("a sequence without a slot was scheduled")
    return slot
