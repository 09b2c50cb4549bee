"""The gate itself: the level that the default model is served at by default, over the whole text."""

from __future__ import annotations

import pytest

from inference.engine.quality.comparison import PERPLEXITY_LIMIT
from inference.engine.quality.gate import judge
from inference.engine.quality.task import Subject
from tests.environment import MODEL_ROOT

PATH = str(MODEL_ROOT / "smollm2-135m-instruct")


# About two minutes of processor time; a crowded machine takes several times as long as an idle one.
@pytest.mark.timeout(1800)
def test_the_default_level_is_as_good_as_float32() -> None:
    reference = Subject(PATH, level=0, dtype="float32", backend="cpu")
    [judgement] = judge(reference, [Subject(PATH, backend="cpu")])
    comparison = judgement.comparison
    assert comparison.num_tokens >= 8000
    assert comparison.perplexity_ratio <= PERPLEXITY_LIMIT
    assert comparison.passes
    assert comparison.top1_agreement > 0.9
