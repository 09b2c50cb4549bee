"""A step over the paged cache as plain numbers: what every rank of an engine must know (no torch).

Rows are tokens: those that decode first, then the prompts' chunks, then padding. Tokens to verify are
rows that decode, each as if it were a sequence: by the time a row attends, the rows before it are in
the pages that it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain

from inference.engine.kv_cache.page_pool import SCRATCH_PAGE
from inference.engine.step_plan import StepPlan

_NUM_HEADER = 5


@dataclass(frozen=True, slots=True)
class PagedRows:
    """T rows of N sequences, S of which need logits. A sequence may stand there once for each row.

    `counts[i]` rows belong to sequence i, which has `lengths[i]` tokens in the cache after the step,
    in the pages `tables[i]`. The first `num_decodes` sequences have one row each. Rows beyond
    `sum(counts)` are padding. `num_logits` of the `logit_rows` are real.
    """

    token_ids: list[int] = field(default_factory=list)  # T
    positions: list[int] = field(default_factory=list)  # T
    places: list[int] = field(default_factory=list)  # T, page number * page + offset
    logit_rows: list[int] = field(default_factory=list)  # S
    counts: list[int] = field(default_factory=list)  # N
    lengths: list[int] = field(default_factory=list)  # N
    tables: list[list[int]] = field(default_factory=list)  # N, of any length
    num_decodes: int = 0
    num_logits: int = 0

    @property
    def is_pure_decode(self) -> bool:
        """Whether there is nothing but decodes, and all of them want logits."""
        return 0 < self.num_decodes == len(self.counts) == self.num_logits

    @property
    def num_pages(self) -> int:
        """Columns of the block table."""
        return max(map(len, self.tables), default=1)

    def encode(self) -> list[int]:
        """All of it as one list of integers, for the wire between ranks."""
        sizes = [len(table) for table in self.tables]
        header = [len(self.token_ids), len(self.logit_rows), len(self.counts)]
        parts = (self.token_ids, self.positions, self.places, self.logit_rows, self.counts)
        tail = (self.lengths, sizes, *self.tables)
        return [*header, self.num_decodes, self.num_logits, *chain(*parts), *chain(*tail)]

    @classmethod
    def decode(cls, numbers: Sequence[int]) -> PagedRows:
        """What `encode` made the list from."""
        num_rows, num_logit_rows, num_sequences, num_decodes, num_logits = numbers[:_NUM_HEADER]
        source = iter(numbers[_NUM_HEADER:])

        def take(count: int) -> list[int]:
            return [next(source) for _ in range(count)]

        return cls(
            token_ids=take(num_rows),
            positions=take(num_rows),
            places=take(num_rows),
            logit_rows=take(num_logit_rows),
            counts=take(num_sequences),
            lengths=take(num_sequences),
            tables=[take(size) for size in take(num_sequences)],
            num_decodes=num_decodes,
            num_logits=num_logits,
        )


def build_rows(
    plan: StepPlan, table_of: Callable[[int], Sequence[int]], page: int, *, multiple: int = 1
) -> PagedRows:
    """The numbers of `plan`; `table_of` names a slot's pages, `page` is their size in tokens.

    The rows, and those with logits, are padded to a `multiple`. Raises RuntimeError for a sequence
    whose pages do not hold its tokens.
    """
    num_verified = sum(verification.num_rows for verification in plan.verifications)
    rows = PagedRows(num_decodes=len(plan.decodes) + num_verified)
    for sequence in plan.decodes:
        position = sequence.num_computed
        _add(rows, sequence.slot, table_of, page, range(position, position + 1))
        rows.token_ids.extend(sequence.tokens(position, position + 1))
        rows.logit_rows.append(len(rows.token_ids) - 1)
    for verification in plan.verifications:
        for position in range(verification.start, verification.end):
            slot = verification.sequence.slot
            _add(rows, slot, table_of, page, range(position, position + 1))
        rows.token_ids.extend(verification.token_ids)
        end = len(rows.token_ids)
        rows.logit_rows.extend(range(end - verification.logit_rows, end))
    for chunk in plan.chunks:
        _add(rows, chunk.sequence.slot, table_of, page, range(chunk.start, chunk.end))
        rows.token_ids.extend(chunk.sequence.tokens(chunk.start, chunk.end))
        end = len(rows.token_ids)
        rows.logit_rows.extend(range(end - chunk.logit_rows, end))
    num_padded = -len(rows.token_ids) % multiple if rows.token_ids else multiple
    _pad(rows, num_padded, page)
    num_logits = len(rows.logit_rows)
    missing = -num_logits % multiple if num_logits else multiple
    rows.logit_rows.extend([0] * missing)
    return replace(rows, num_logits=num_logits)


def pad_decodes(rows: PagedRows, num_sequences: int, page: int) -> PagedRows:
    """A pure decode step with sequences of nobody added, up to `num_sequences` of one row each."""
    missing = num_sequences - len(rows.counts)
    if missing < 0 or not rows.is_pure_decode:
        raise ValueError(f"{len(rows.counts)} sequences cannot become {num_sequences} decodes")
    idle = [0] * missing
    padded = PagedRows(
        token_ids=rows.token_ids[: rows.num_decodes] + idle,
        positions=rows.positions[: rows.num_decodes] + idle,
        places=rows.places[: rows.num_decodes] + _scratch_places(missing, page),
        logit_rows=list(range(num_sequences)),
        counts=[1] * num_sequences,
        lengths=rows.lengths + [1] * missing,
        tables=rows.tables + [[SCRATCH_PAGE] for _ in idle],
        num_decodes=num_sequences,
    )
    return replace(padded, num_logits=rows.num_logits)


def row_borders(counts: Iterable[int]) -> list[int]:
    """0 and the running totals: where each sequence's rows begin, and where the last one's end."""
    return list(accumulate(counts, initial=0))


def _add(
    rows: PagedRows,
    slot: int | None,
    table_of: Callable[[int], Sequence[int]],
    page: int,
    positions: range,
) -> None:
    if slot is None:
        raise RuntimeError("a sequence without a slot was scheduled")
    num_pages = -(-positions.stop // page)
    table = list(table_of(slot)[:num_pages])
    if len(table) < num_pages:
        raise RuntimeError(f"slot {slot} has {len(table)} pages for {positions.stop} tokens")
    rows.positions.extend(positions)
    rows.places.extend(table[position // page] * page + position % page for position in positions)
    rows.counts.append(len(positions))
    rows.lengths.append(positions.stop)
    rows.tables.append(table)


def _pad(rows: PagedRows, count: int, page: int) -> None:
    rows.token_ids.extend([0] * count)
    rows.positions.extend([0] * count)
    rows.places.extend(_scratch_places(count, page))


def _scratch_places(count: int, page: int) -> list[int]:
    return [SCRATCH_PAGE * page + index % page for index in range(count)]
