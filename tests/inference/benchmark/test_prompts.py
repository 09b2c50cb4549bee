from __future__ import annotations

import pytest

from inference.benchmark.prompts import NUM_DISTINCT, PromptSource
from inference.tokenizer import Tokenizer
from tests.environment import MODEL_ROOT

MODEL = MODEL_ROOT / "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def sentences() -> list[list[int]]:
    return [list(range(start, start + 20)) for start in range(0, 2000, 20)]


def test_prompts_have_exactly_the_length_that_was_asked_for(sentences: list[list[int]]) -> None:
    source = PromptSource(sentences)
    for length in (1, 7, 105, 4096):
        assert [len(p) for p in source.make(f"{length}", count=3, num_tokens=length)] == [
            length
        ] * 3


def test_the_same_key_gives_the_same_prompts_and_another_key_others(
    sentences: list[list[int]],
) -> None:
    made = PromptSource(sentences).make("a", count=4, num_tokens=105)
    assert made == PromptSource(sentences).make("a", count=4, num_tokens=105)
    assert made != PromptSource(sentences).make("b", count=4, num_tokens=105)


def test_no_two_prompts_of_a_source_begin_alike(sentences: list[list[int]]) -> None:
    source = PromptSource(sentences)
    prompts = [p for key in "abcd" for p in source.make(key, count=100, num_tokens=64)]
    assert len({tuple(prompt[:NUM_DISTINCT]) for prompt in prompts}) == 400


def test_a_text_that_is_used_up_says_so() -> None:
    source = PromptSource([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]])
    with pytest.raises(ValueError, match="no beginning left"):
        source.make("a", count=5, num_tokens=20)


def test_the_models_own_tokenizer_reads_them_as_text() -> None:
    source = PromptSource.for_model(MODEL)
    prompts = source.make("run", count=1000, num_tokens=105)
    text = Tokenizer.load(MODEL).decode(prompts[0])
    assert len(prompts) == 1000
    assert " " in text
    assert len(text) > 200
