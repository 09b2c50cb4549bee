"""The real thing: SmolLM2-135M-Instruct, as people will use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from inference.protocol import ChatMessage, Delta, EngineEvent, FinishReason, Prompt
from tests.environment import MODEL_ROOT
from tests.inference.engine.harness import Harness, running_engine

PATH = MODEL_ROOT / "smollm2-135m-instruct"
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


@pytest.fixture(scope="module")
def engine() -> Iterator[Harness]:
    with running_engine(PATH, max_model_len=2048, num_threads=2) as harness:
        yield harness


@pytest.fixture(scope="module")
def alone(engine: Harness) -> dict[str, str]:
    """Greedy answers of one caller at a time."""
    return {
        question: engine.ask(Prompt(text=question), max_tokens=NUM_TOKENS, ignore_eos=False).text
        for question in QUESTIONS
    }


def test_it_knows_the_capital_of_france(engine: Harness) -> None:
    finished = engine.ask(Prompt(text=QUESTIONS[0]), max_tokens=30, ignore_eos=False)
    assert finished.text == "The capital of France is Paris."
    assert finished.finish_reason is FinishReason.STOP
    assert finished.usage.prompt_tokens == 37
    messages = Prompt(messages=(ChatMessage("user", QUESTIONS[0]),))
    assert engine.ask(messages, max_tokens=30, ignore_eos=False).text == finished.text


@pytest.mark.parametrize("count", [16, 32])
def test_concurrent_callers_get_the_text_of_one_alone(
    count: int, engine: Harness, alone: dict[str, str]
) -> None:
    asked = [QUESTIONS[index % len(QUESTIONS)] for index in range(count)]
    ids = [
        engine.send(Prompt(text=question), max_tokens=NUM_TOKENS, ignore_eos=False)
        for question in asked
    ]
    texts = [engine.finish(request_id).text for request_id in ids]
    assert texts == [alone[question] for question in asked]


def test_a_caller_who_joins_late_among_sampled_ones_gets_the_same_text(
    engine: Harness, alone: dict[str, str]
) -> None:
    late: list[str] = []

    def join(event: EngineEvent) -> None:
        if isinstance(event, Delta) and event.request_id == first and len(late) < 4:
            question = QUESTIONS[len(late)]
            late.append(engine.send(Prompt(text=question), max_tokens=NUM_TOKENS, ignore_eos=False))

    strangers = [
        engine.send(Prompt(text=question), max_tokens=NUM_TOKENS, temperature=1.0, top_p=0.9)
        for question in QUESTIONS
    ]
    first = strangers[0]
    engine.on_event = join
    for stranger in strangers:
        engine.finish(stranger)
    engine.on_event = None
    texts = [engine.finish(request_id).text for request_id in late]
    assert texts == [alone[question] for question in QUESTIONS[:4]]


def test_greedy_text_equals_that_of_generate(engine: Harness, alone: dict[str, str]) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(PATH, dtype=torch.float32)
    tokenizer = engine.running.served.loaded.tokenizer
    for question in QUESTIONS[:4]:
        ids = tokenizer.encode_prompt(Prompt(text=question))
        output = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
            max_new_tokens=NUM_TOKENS,
            do_sample=False,
        )
        assert tokenizer.decode(output[0, len(ids) :].tolist()) == alone[question]


def test_emoji_stream_whole(engine: Harness) -> None:
    request_id = engine.send(
        Prompt(text="Repeat exactly: 👩‍🚀🎉 日本語 é"), max_tokens=40, ignore_eos=False
    )
    pieces: list[str] = []
    engine.on_event = lambda event: (
        pieces.append(event.text)
        if isinstance(event, Delta) and event.request_id == request_id
        else None
    )
    finished = engine.finish(request_id)
    engine.on_event = None
    assert "\ufffd" not in finished.text
    for piece in pieces:
        assert piece.encode().decode() == piece
