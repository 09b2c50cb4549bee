"""A step as numbers: places, tables, padding, the wire between ranks, and its buffer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.detokenizer import TextAssembler
from inference.engine.paged.buckets import bucket_sizes, choose_bucket
from inference.engine.paged.inputs import InputShape, InputStaging, StepInputs
from inference.engine.paged.rows import PagedRows, build_rows, pad_decodes
from inference.engine.sequence import Sequence
from inference.engine.step_plan import PrefillChunk, StepPlan, Verification
from inference.protocol import SamplingParams

PAGE = 64
TABLES = {0: [3, 1], 1: [2], 2: [5, 4, 6]}
CPU = torch.device("cpu")


def sequence(slot: int, num_tokens: int) -> Sequence:
    made = Sequence(
        request_id=str(slot),
        prompt_ids=[100 * slot + index for index in range(num_tokens)],
        params=SamplingParams(),
        text=TextAssembler(lambda ids: ""),
        now=0.0,
        timeout=1.0,
    )
    made.slot = slot
    made.num_computed = num_tokens - 1
    return made


def rows_of(plan: StepPlan, multiple: int = 1) -> PagedRows:
    return build_rows(plan, TABLES.__getitem__, PAGE, multiple=multiple)


def test_a_token_goes_to_its_page_and_offset() -> None:
    rows = rows_of(StepPlan(decodes=(sequence(0, 67), sequence(1, 3))))
    assert rows.token_ids == [66, 102]
    assert rows.positions == [66, 2]
    assert rows.places == [1 * PAGE + 2, 2 * PAGE + 2]
    assert rows.lengths == [67, 3]
    assert rows.tables == [[3, 1], [2]]
    assert rows.is_pure_decode


def test_a_chunk_has_many_rows_and_wants_the_last_ones_logits() -> None:
    long = sequence(2, 190)
    plan = StepPlan(decodes=(sequence(1, 3),), chunks=(PrefillChunk(long, 128, 190, is_last=True),))
    rows = rows_of(plan, multiple=8)
    assert rows.counts == [1, 62]
    assert rows.lengths == [3, 190]
    assert len(rows.token_ids) == 64
    assert rows.places[1] == 6 * PAGE
    assert rows.places[63] == 0, "padding goes to the scratch page"
    assert (rows.logit_rows[:2], rows.num_logits) == ([0, 62], 2)
    assert len(rows.logit_rows) == 8
    assert not rows.is_pure_decode


def test_drafts_are_rows_that_decode_one_after_the_other() -> None:
    checked = Verification(sequence(0, 64), 63, (7, 8))
    rows = rows_of(StepPlan(decodes=(sequence(1, 3),), verifications=(checked,)))
    assert rows.token_ids == [102, 63, 7, 8]
    assert rows.lengths == [3, 64, 65, 66]
    assert rows.tables == [[2], [3], [3, 1], [3, 1]]
    assert rows.is_pure_decode
    some = Verification(sequence(0, 64), 63, (7, 8), num_logits=1)
    assert not rows_of(StepPlan(verifications=(some,))).is_pure_decode


def test_an_empty_step_is_one_row_of_padding() -> None:
    rows = rows_of(StepPlan())
    assert (rows.token_ids, rows.counts, rows.num_logits) == ([0], [], 0)


def test_a_sequence_without_its_pages_is_refused() -> None:
    with pytest.raises(RuntimeError, match="slot 1 has 1 pages for 65 tokens"):
        rows_of(StepPlan(decodes=(sequence(1, 65),)))
    lost = sequence(1, 3)
    lost.slot = None
    with pytest.raises(RuntimeError, match="without a slot"):
        rows_of(StepPlan(decodes=(lost,)))


@given(st.lists(st.integers(0, 2), max_size=3), st.integers(1, 60), st.integers(1, 8))
def test_what_goes_over_the_wire_arrives(slots: list[int], chunk: int, multiple: int) -> None:
    plan = StepPlan(
        decodes=tuple(sequence(slot, 40) for slot in slots),
        chunks=(PrefillChunk(sequence(2, chunk), 0, chunk, is_last=True),),
    )
    rows = rows_of(plan, multiple)
    assert PagedRows.decode(rows.encode()) == rows


@given(st.integers(1, 4096), st.integers(1, 5000))
def test_a_bucket_holds_the_batch_and_wastes_less_than_half_or_32(slots: int, batch: int) -> None:
    sizes = bucket_sizes(slots)
    assert sizes == tuple(sorted(set(sizes)))
    assert sizes[-1] == slots
    bucket = choose_bucket(batch, sizes)
    if batch > slots:
        assert bucket is None
    else:
        assert bucket is not None
        assert batch <= bucket < max(2 * batch, batch + 32)


def test_no_batch_needs_no_bucket() -> None:
    assert choose_bucket(0, bucket_sizes(4)) is None


def test_a_padded_decode_changes_nothing_of_the_real_rows() -> None:
    rows = rows_of(StepPlan(decodes=(sequence(0, 67), sequence(1, 3))))
    padded = pad_decodes(rows, 4, PAGE)
    assert padded.token_ids == [66, 102, 0, 0]
    assert padded.places[2:] == [0, 1]
    assert padded.counts == [1] * 4
    assert padded.lengths == [67, 3, 1, 1]
    assert padded.tables[2:] == [[0], [0]]
    assert padded.logit_rows == [0, 1, 2, 3]
    assert padded.num_logits == 2
    with pytest.raises(ValueError, match="2 sequences cannot become 1"):
        pad_decodes(rows, 1, PAGE)


def test_the_inputs_are_views_into_one_buffer() -> None:
    rows = rows_of(StepPlan(decodes=(sequence(0, 67), sequence(1, 3))))
    inputs = InputStaging(CPU).upload(rows)
    assert inputs.token_ids.tolist() == rows.token_ids
    assert inputs.places.tolist() == rows.places
    assert inputs.row_borders.tolist() == [0, 1, 2]
    assert inputs.lengths.tolist() == [67, 3]
    assert inputs.length_borders.tolist() == [0, 67, 70]
    assert inputs.tables.tolist() == [[3, 1], [2, 0]]
    assert inputs.tables.dtype == inputs.lengths.dtype == torch.int32
    inputs.buffer.zero_()
    assert inputs.tables.sum() == inputs.places.sum() == 0


def test_a_fixed_buffer_takes_any_step_that_fits() -> None:
    staging = InputStaging(CPU)
    shape = InputShape(4, 4, 4, 3)
    fixed = StepInputs.over(torch.full((shape.num_bytes,), 255, dtype=torch.uint8), shape)
    rows = rows_of(StepPlan(decodes=(sequence(0, 67), sequence(1, 3))))
    staging.refill(pad_decodes(rows, 4, PAGE), fixed)
    assert fixed.tables.tolist() == [[3, 1, 0], [2, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert fixed.logit_rows.tolist() == [0, 1, 2, 3]


def test_a_step_is_not_changed_by_the_next_one() -> None:
    staging = InputStaging(CPU)
    first = staging.upload(rows_of(StepPlan(decodes=(sequence(0, 67),))))
    staging.upload(rows_of(StepPlan(decodes=(sequence(1, 3),))))
    assert first.token_ids.tolist() == [66]
