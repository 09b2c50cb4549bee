"""The real thing at level 3: SmolLM2-135M-Instruct, packed once and kept for later runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from inference.engine.native.artifact import artifact_file, open_artifact
from inference.engine.quality.comparison import PERPLEXITY_LIMIT
from inference.model_files import read_model_files
from inference.protocol import FinishReason, Prompt
from tests.inference.engine.harness import Harness, running_engine
from tests.prepared_model import CACHE, prepared_cache
from tests.prepared_model import MODEL as PATH

QUESTIONS = [
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "List three colours.",
    "What is 12 times 12?",
    "Say hello in Spanish.",
    "Why is the sky blue?",
    "Name a fruit that starts with B.",
    "Who wrote Hamlet?",
]
NUM_TOKENS = 24
# Where the packed model is missing, the first test waits until it is made.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def engine() -> Iterator[Harness]:
    settings = {"optimization_level": 3, "cache_dir": str(prepared_cache()), "num_threads": 2}
    with running_engine(PATH, max_model_len=2048, **settings) as harness:
        assert harness.running.backend.optimization_level == 3
        yield harness


def ask(engine: Harness, question: str) -> str:
    return engine.ask(Prompt(text=question), max_tokens=NUM_TOKENS, ignore_eos=False).text


def test_it_knows_the_capital_of_france(engine: Harness) -> None:
    finished = engine.ask(Prompt(text=QUESTIONS[0]), max_tokens=30, ignore_eos=False)
    assert finished.text == "The capital of France is Paris."
    assert finished.finish_reason is FinishReason.STOP
    assert finished.usage.prompt_tokens == 37


def test_concurrent_callers_get_the_text_of_one_alone(engine: Harness) -> None:
    alone = {question: ask(engine, question) for question in QUESTIONS}
    assert len(set(alone.values())) == len(QUESTIONS)
    asked = QUESTIONS * 3
    ids = [
        engine.send(Prompt(text=question), max_tokens=NUM_TOKENS, ignore_eos=False)
        for question in asked
    ]
    texts = [engine.finish(request_id).text for request_id in ids]
    assert texts == [alone[question] for question in asked]


def test_it_is_good_enough_to_be_chosen_unasked(engine: Harness) -> None:
    found = open_artifact(artifact_file(CACHE, read_model_files(PATH)))
    assert found is not None
    assert found.qualification is not None
    assert found.qualification.perplexity_ratio <= PERPLEXITY_LIMIT
    assert found.qualification.top1_agreement > 0.9
    assert found.qualification.num_tokens >= 8000
