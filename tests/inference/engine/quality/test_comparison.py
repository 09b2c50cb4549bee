"""The figures, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from inference.engine.quality.comparison import (
    DECODED_LIMIT,
    PERPLEXITY_LIMIT,
    QualityResult,
    Scores,
    compare,
)
from inference.engine.quality.task import Outcome, read_outcome, write_outcome


def result(prefilled: list[float], decoded: list[float], top_id: int = 1) -> QualityResult:
    return QualityResult(
        Scores(tuple(prefilled), (1,) * len(prefilled)),
        Scores(tuple(decoded), (top_id,) * len(decoded)),
    )


def test_perplexity_is_the_inverse_of_the_mean_probability() -> None:
    assert Scores((math.log(0.5), math.log(0.125)), (0, 0)).perplexity == pytest.approx(4.0)
    assert math.isnan(Scores().perplexity)
    assert Scores((-math.inf,), (0,)).perplexity == math.inf
    assert Scores((-1e6,), (0,)).perplexity == math.inf


def test_the_figures_of_a_comparison() -> None:
    compared = compare(
        result([-1.0, -2.0], [-3.0, -1.0], top_id=2), result([-1.0, -1.5], [-3.0, -1.0])
    )
    assert compared.num_tokens == 4
    assert compared.perplexity == pytest.approx(math.exp(1.75))
    assert compared.perplexity_ratio == pytest.approx(math.exp(0.125))
    assert compared.decoded_ratio == 1.0
    assert compared.top1_agreement == 0.5
    assert compared.decoded_agreement == 0.0
    assert compared.mean_difference == pytest.approx(0.125)
    assert compared.max_difference == 0.5
    assert not compared.passes


def test_the_limits_are_those_of_the_whole_and_of_the_decoded_part() -> None:
    assert PERPLEXITY_LIMIT == 1.01
    reference = result([-1.0] * 90, [-1.0] * 10)
    for shift, passes in ((0.009, True), (0.011, False)):
        assert compare(result([-1.0 - shift] * 90, [-1.0 - shift] * 10), reference).passes is passes
    broken_decode = compare(result([-1.0] * 90, [-1.05] * 10), reference)
    assert broken_decode.perplexity_ratio < PERPLEXITY_LIMIT
    assert broken_decode.decoded_ratio > DECODED_LIMIT
    assert not broken_decode.passes


@pytest.mark.parametrize("strange", [math.nan, -math.inf])
def test_numbers_that_are_none_do_not_pass(strange: float, tmp_path: Path) -> None:
    measured = result([-1.0, strange], [-1.0])
    write_outcome(tmp_path / "outcome", Outcome(measured))
    received = read_outcome(tmp_path / "outcome").result
    assert received is not None
    assert str(received) == str(measured)
    assert not compare(received, result([-1.0, -1.0], [-1.0])).passes


def test_only_equal_texts_are_compared() -> None:
    with pytest.raises(ValueError, match="2 positions cannot be compared with 1"):
        compare(result([-1.0, -1.0], [-1.0]), result([-1.0], [-1.0]))
    with pytest.raises(ValueError, match="0 positions"):
        compare(result([-1.0], []), result([-1.0], []))
