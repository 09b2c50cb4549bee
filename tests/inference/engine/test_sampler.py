"""Distributions against a plain reference, row by row, and rows that do not disturb each other."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch

from inference.engine.detokenizer import TextAssembler
from inference.engine.drawing import _invert
from inference.engine.filters import draw_on_host, thresholds
from inference.engine.sampler import Sampler
from inference.engine.sequence import Sequence
from inference.protocol import SamplingParams

VOCAB = 1000
EOS = 999


def make_sequence(slot: int = 0, prompt: list[int] | None = None, **params: Any) -> Sequence:
    sequence = Sequence(
        request_id=f"s{slot}",
        prompt_ids=prompt or [1],
        params=SamplingParams(**{"max_tokens": 10, "seed": slot, **params}),
        text=TextAssembler(lambda ids: ""),
        now=0.0,
        timeout=1.0,
    )
    sequence.slot = slot
    return sequence


def make_sampler() -> Sampler:
    return Sampler(vocab_size=VOCAB, eos_token_ids=(EOS,))


def make_logits(rows: int, seed: int = 0, scale: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, VOCAB, generator=generator) * scale


def draw(sampler: Sampler, logits: torch.Tensor, sequences: list[Sequence]) -> list[int]:
    return [token.token_id for token in sampler.sample(logits, sequences) if token is not None]


def expected_distribution(row: torch.Tensor, params: SamplingParams) -> dict[int, float]:
    """Temperature, top-k, top-p, min-p one after the other, in float64 over the sorted row."""
    probabilities = torch.softmax(row.double() / params.temperature, dim=-1)
    ranked = sorted(enumerate(probabilities.tolist()), key=lambda item: -item[1])
    if params.top_k:
        ranked = ranked[: params.top_k]
    total = sum(p for _, p in ranked)
    kept, mass = [], 0.0
    for token_id, p in ranked:
        if params.top_p < 1.0 and mass >= params.top_p * total:
            break
        kept.append((token_id, p))
        mass += p
    kept = [(token_id, p) for token_id, p in kept if p >= params.min_p * ranked[0][1]]
    total = sum(p for _, p in kept)
    return {token_id: p / total for token_id, p in kept}


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 1.0},
        {"temperature": 0.3},
        {"temperature": 2.0, "top_k": 5},
        {"temperature": 1.0, "top_k": 1},
        {"temperature": 1.0, "top_p": 0.5},
        {"temperature": 2.0, "top_p": 0.99},  # reaches beyond the sorted candidates
        {"temperature": 2.0, "top_k": 600},
        {"temperature": 2.0, "min_p": 0.05},
        {"temperature": 2.0, "min_p": 0.00001},
        {"temperature": 1.2, "top_k": 50, "top_p": 0.8, "min_p": 0.01},
        {"temperature": 1.0, "top_p": 0.000001},
    ],
)
def test_draws_follow_the_filtered_distribution(params: dict[str, Any]) -> None:
    row = make_logits(1, scale=2.0)
    expected = expected_distribution(row[0], SamplingParams(**params))
    sequences = [make_sequence(slot, **params) for slot in range(400)]
    counts: Counter[int] = Counter()
    sampler = make_sampler()
    for _ in range(25):
        counts.update(draw(sampler, row.expand(400, -1), sequences))
    num_draws = counts.total()
    assert set(counts) <= set(expected), "a token that the filters had removed"
    for token_id, probability in expected.items():
        # Five standard deviations of a binomial count.
        slack = 5 * math.sqrt(num_draws * probability * (1 - probability)) + 8
        assert abs(counts[token_id] - num_draws * probability) <= slack


def test_greedy_rows_take_the_best_token() -> None:
    logits = make_logits(4)
    sequences = [make_sequence(slot, temperature=0.0) for slot in range(4)]
    assert draw(make_sampler(), logits, sequences) == logits.argmax(-1).tolist()


@pytest.mark.parametrize("temperature", [1e-6, 1e-30, 5e-324])
def test_a_tiny_temperature_is_greedy(temperature: float) -> None:
    logits = make_logits(1)
    assert draw(make_sampler(), logits, [make_sequence(temperature=temperature)]) == [
        int(logits.argmax())
    ]


def test_a_row_depends_on_itself_alone() -> None:
    logits = make_logits(7)
    settings: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 1.0},
        {"temperature": 1.5, "top_k": 700},
        {"temperature": 1.5, "top_p": 0.97},
        {"temperature": 0.7, "min_p": 0.1, "logprobs": 4},
        {"temperature": 1.0, "repetition_penalty": 1.5, "frequency_penalty": 1.0},
        {"temperature": 2.0, "top_p": 0.999, "logit_bias": ((5, 3.0),)},
    ]
    together = draw(
        make_sampler(),
        logits,
        [make_sequence(slot, **params) for slot, params in enumerate(settings)],
    )
    for slot, params in enumerate(settings):
        sequence = make_sequence(slot, **params)
        assert draw(make_sampler(), logits[slot : slot + 1], [sequence]) == [together[slot]]


def test_the_same_seed_draws_the_same_tokens() -> None:
    logits = make_logits(1)
    runs = []
    for _ in range(2):
        sampler, sequence = make_sampler(), make_sequence(temperature=2.0, seed=7)
        runs.append([draw(sampler, logits, [sequence])[0] for _ in range(20)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 5


def test_penalties_equal_their_formulas() -> None:
    logits = make_logits(1)
    sequence = make_sequence(
        prompt=[3, 4],
        temperature=0.0,
        repetition_penalty=1.3,
        presence_penalty=0.5,
        frequency_penalty=0.25,
    )
    sampler = make_sampler()
    counts: Counter[int] = Counter()
    for _ in range(30):
        values = logits[0].clone()
        for token_id in {3, 4, *counts}:
            values[token_id] = (
                values[token_id] / 1.3 if values[token_id] > 0 else values[token_id] * 1.3
            )
        for token_id, count in counts.items():
            values[token_id] -= 0.25 * count + 0.5
        (token_id,) = draw(sampler, logits, [sequence])
        assert token_id == int(values.argmax())
        counts[token_id] += 1
        sequence.output_ids.append(token_id)
        # What was counted belongs to the sequence, wherever it is in the cache.
        sequence.slot = len(counts) % 8
    assert len(counts) > 1


def test_penalties_of_a_new_sequence_start_afresh() -> None:
    logits = make_logits(1)
    sampler = make_sampler()
    params = {"temperature": 0.0, "frequency_penalty": 2.0}
    first = [draw(sampler, logits, [make_sequence(0, **params)])[0] for _ in range(3)]
    assert len(set(first)) == 1


def test_a_bias_is_added_to_the_logit_of_its_token() -> None:
    logits = make_logits(3)
    best = int(logits[0].argmax())
    sequences = [
        make_sequence(0, temperature=0.0, logit_bias=((best, -100.0),)),
        make_sequence(1, temperature=0.0, logit_bias=((7, 100.0), (8, 99.5))),
        make_sequence(2, temperature=0.0),
    ]
    expected = logits.clone()
    expected[0, best] -= 100.0
    expected[1, 7] += 100.0
    expected[1, 8] += 99.5
    before = logits.clone()
    assert draw(make_sampler(), logits, sequences) == expected.argmax(-1).tolist()
    assert torch.equal(logits, before)


def test_a_bias_shifts_the_odds_by_its_exponential() -> None:
    logits = torch.zeros(1, VOCAB)
    params = {"temperature": 1.0, "top_k": 2, "logit_bias": ((3, 50.0), (4, 50.0 + math.log(3)))}
    sequences = [make_sequence(slot, **params) for slot in range(4000)]
    counts = Counter(draw(make_sampler(), logits.expand(4000, -1), sequences))
    assert set(counts) == {3, 4}
    assert abs(counts[4] - 3000) < 5 * math.sqrt(4000 * 0.75 * 0.25)


@pytest.mark.parametrize("vocab", [1, 63, 64, 65, 4097, 20_000])
@pytest.mark.parametrize(
    "params", [{}, {"top_k": 3}, {"top_p": 0.999}, {"top_k": 5000}, {"min_p": 1e-9}]
)
def test_every_size_of_vocabulary_is_drawn_from(vocab: int, params: dict[str, Any]) -> None:
    """Flat rows, too: there the filters keep more than the candidates that are sorted first."""
    logits = torch.zeros(1, vocab)
    logits[0, -1] = 0.5
    sampler = Sampler(vocab_size=vocab, eos_token_ids=())
    sequences = [make_sequence(slot, temperature=2.0, **params) for slot in range(200)]
    drawn = draw(sampler, logits.expand(200, -1), sequences)
    assert all(0 <= token_id < vocab for token_id in drawn)
    if vocab == 20_000 and params.get("top_k") != 3:
        assert len(set(drawn)) > 150


def test_tokens_as_likely_as_the_last_one_kept_stay_too() -> None:
    logits = torch.zeros(1, VOCAB)
    logits[0, [10, 500, 900]] = 8.0
    sequences = [make_sequence(slot, top_k=2) for slot in range(200)]
    drawn = draw(make_sampler(), logits.expand(200, -1), sequences)
    assert set(drawn) == {10, 500, 900}


def test_the_end_token_cannot_come_before_min_tokens() -> None:
    logits = make_logits(2)
    logits[:, EOS] = 100.0
    sequences = [make_sequence(0, temperature=0.0, min_tokens=2), make_sequence(1, temperature=0.0)]
    sampler = make_sampler()
    assert (draw(sampler, logits, sequences)[0] == EOS, draw(sampler, logits, sequences)[1]) == (
        False,
        EOS,
    )
    sequences[0].output_ids = [1, 2]
    assert draw(sampler, logits, sequences) == [EOS, EOS]


def test_logprobs_are_those_of_the_plain_logits() -> None:
    logits = make_logits(2)
    sequences = [
        make_sequence(0, temperature=0.5, top_k=3, logprobs=2, frequency_penalty=1.0),
        make_sequence(1, temperature=1.0),
    ]
    first, second = make_sampler().sample(logits, sequences)
    assert first is not None
    assert second is not None
    reference = torch.log_softmax(logits[0], dim=-1)
    assert first.logprob == pytest.approx(float(reference[first.token_id]), abs=1e-5)
    values, ids = reference.topk(2)
    assert [token_id for token_id, _ in first.top] == ids.tolist()
    assert [value for _, value in first.top] == pytest.approx(values.tolist(), abs=1e-5)
    assert (second.logprob, second.top) == (None, ())


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_that_is_not_finite_gets_no_token(value: float, temperature: float) -> None:
    logits = make_logits(3)
    logits[1, 5] = value
    sequences = [make_sequence(slot, temperature=temperature) for slot in range(3)]
    tokens = make_sampler().sample(logits, sequences)
    assert [token is None for token in tokens] == [False, True, False]


def test_tokens_with_no_probability_are_never_drawn() -> None:
    logits = torch.full((1, VOCAB), -math.inf)
    logits[0, 10] = 0.0
    logits[0, 20] = 0.0
    sequences = [make_sequence(slot, temperature=1.0) for slot in range(50)]
    drawn = draw(make_sampler(), logits.expand(50, -1), sequences)
    assert set(drawn) == {10, 20}


def test_no_rows_no_tokens() -> None:
    assert make_sampler().sample(torch.empty(0, VOCAB), []) == []


ROWS = [
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 5000},
    {"top_p": 0.3},
    {"top_p": 0.95},
    {"min_p": 0.02},
    {"top_k": 40, "top_p": 0.9},
    {"top_k": 40, "min_p": 0.1},
    {"top_p": 0.99, "min_p": 0.001},
    {"top_k": 600, "top_p": 0.999, "min_p": 1e-6},
]


@pytest.mark.parametrize("scale", [0.1, 2.0, 8.0])
def test_device_and_host_keep_the_same_tokens(scale: float) -> None:
    logits = torch.randn(len(ROWS), 4096, generator=torch.Generator().manual_seed(3)) * scale
    probabilities = torch.softmax(logits, dim=-1)
    params = [SamplingParams(**row) for row in ROWS]
    total = probabilities.sum(dim=-1, dtype=torch.float64)
    least = thresholds(probabilities, total, params)
    for row, p in enumerate(params):
        kept = (probabilities[row] >= least[row]).nonzero().flatten().tolist()
        blocks = probabilities[row].view(-1, 64).numpy()
        ends = [
            draw_on_host(blocks, blocks.max(axis=1), float(total[row]), uniform, p)
            for uniform in (0.0, 1.0)
        ]
        assert ends == [kept[0], kept[-1]]


def test_the_device_draws_from_the_same_distribution_as_the_host() -> None:
    """`_invert` runs on accelerators alone; here on the processor, beside its counterpart."""
    weights = torch.softmax(torch.randn(300, 128) * 2, dim=-1)
    uniform = torch.rand(300, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    blocks = weights.view(300, 2, 64)
    drawn = _invert(blocks, blocks.sum(dim=-1), uniform).tolist()
    for row, token_id in enumerate(drawn):
        before = float(weights[row, :token_id].double().sum())
        assert before - 1e-5 <= uniform[row] <= before + float(weights[row, token_id]) + 1e-5
