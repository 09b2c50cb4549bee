"""Structured output: the text has the asked form, bad forms are refused, hostile ones do no harm."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.protocol import Failed, Finished, FinishReason, Grammar, GrammarKind
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.engine.harness import Harness, running_engine

PROMPT = [1, 2, 3, 4, 5]
REGEX, LARK, SCHEMA = GrammarKind.REGEX, GrammarKind.LARK, GrammarKind.JSON_SCHEMA
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine(byte_model: Path) -> Iterator[Harness]:
    """An engine over bytes: a random model, which left alone writes no JSON."""
    with running_engine(byte_model) as harness:
        yield harness


def regex(text: str) -> Grammar:
    return Grammar(REGEX, text)


def schema(form: dict[str, Any]) -> Grammar:
    return Grammar(SCHEMA, json.dumps(form, separators=(",", ":")))


def ask(engine: Harness, grammar: Grammar, **params: Any) -> Finished:
    settings = {"max_tokens": 450, "ignore_eos": False, **params}
    return engine.ask(PROMPT, grammar=grammar, **settings)


@pytest.mark.parametrize("params", [{}, {"temperature": 1.0, "seed": 3}, {"temperature": 2.0}])
def test_the_text_follows_a_json_schema(engine: Harness, params: dict[str, Any]) -> None:
    finished = ask(engine, schema(PERSON), **params)
    person = json.loads(finished.text)
    assert set(person) == {"name", "age", "tags"}
    assert 0 <= person["age"] <= 130
    assert finished.finish_reason is FinishReason.STOP


def test_a_json_object_is_one(engine: Harness) -> None:
    biases = tuple((token_id, -30.0) for token_id in range(1, 256, 3))
    finished = ask(engine, Grammar(GrammarKind.JSON_OBJECT), max_tokens=300, logit_bias=biases)
    assert finished.text.startswith("{")
    if finished.finish_reason is FinishReason.STOP:
        assert isinstance(json.loads(finished.text), dict)


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (regex(r"[0-9]{3}-[a-f]{2}"), r"[0-9]{3}-[a-f]{2}"),
        (regex(r"(yes|no)"), r"(yes|no)"),
        (Grammar(LARK, 'start: word ("," word)~2\nword: /[a-z]{2}/'), r"[a-z]{2}(,[a-z]{2}){2}"),
        (regex("[äöü☃]{5}"), "[äöü☃]{5}"),
    ],
)
def test_the_text_follows_an_expression_or_a_grammar(
    engine: Harness, grammar: Grammar, pattern: str
) -> None:
    finished = ask(engine, grammar)
    assert re.fullmatch(pattern, finished.text)
    assert finished.finish_reason is FinishReason.STOP


def test_a_complete_text_ends_without_an_end_token(engine: Harness) -> None:
    finished = ask(engine, regex("[a-z]{4}"), min_tokens=100, ignore_eos=True)
    assert finished.usage.completion_tokens == 4


def test_the_end_token_comes_only_where_the_text_may_end(engine: Harness) -> None:
    end = ((256, 100.0),)  # the model wants nothing more than to end
    assert ask(engine, regex("[a-z]{3}[0-9]*"), logit_bias=end).text.isalpha()
    longer = ask(engine, regex("[a-z]{3}[0-9]*"), logit_bias=end, min_tokens=9)
    assert re.fullmatch("[a-z]{3}[0-9]{6}", longer.text)
    endless = ask(engine, regex("[a-z]{3}[0-9]*"), logit_bias=end, ignore_eos=True, max_tokens=20)
    assert re.fullmatch("[a-z]{3}[0-9]{17}", endless.text)
    assert endless.finish_reason is FinishReason.LENGTH


def test_too_few_tokens_cut_the_text(engine: Harness) -> None:
    finished = ask(engine, regex("[a-z]{40}"), max_tokens=10)
    assert finished.finish_reason is FinishReason.LENGTH
    assert re.fullmatch("[a-z]{10}", finished.text)


def test_a_stop_string_ends_a_text_early(engine: Harness) -> None:
    whole = ask(engine, regex("[a-z]{30}")).text
    finished = ask(engine, regex("[a-z]{30}"), stop=(whole[5:7],))
    assert finished.text == whole[: whole.index(whole[5:7])]
    assert finished.finish_reason is FinishReason.STOP


def test_penalties_and_logprobs_go_with_a_grammar(engine: Harness) -> None:
    finished = ask(engine, regex("[a-z]{20}"), frequency_penalty=2.0, logprobs=1)
    assert re.fullmatch("[a-z]{20}", finished.text)
    assert finished.logprobs is not None
    assert len(finished.logprobs) == 20


def test_neighbours_keep_their_texts_and_grammars(engine: Harness) -> None:
    grammars = [regex("[a-z]{20}"), schema(PERSON), None, regex("[0-9]{12}"), None]
    settings = [
        {"max_tokens": 60, "ignore_eos": False, "grammar": grammar, "temperature": 1.0, "seed": 5}
        for grammar in grammars
    ]
    alone = [engine.ask(PROMPT, **params).text for params in settings]
    ids = [engine.send(PROMPT, **params) for params in settings]
    assert [engine.finish(request_id).text for request_id in ids] == alone


def test_a_grammar_outlives_preemption(engine: Harness) -> None:
    expected = ask(engine, schema(PERSON), temperature=1.0, seed=9).text
    request_id = engine.send(
        PROMPT, grammar=schema(PERSON), temperature=1.0, seed=9, max_tokens=450, ignore_eos=False
    )
    for _ in range(5):
        engine.engine.preempt_all(lambda: None)
    assert engine.finish(request_id).text == expected


REFUSALS = [
    (schema({"type": "nope"}), "Invalid type"),
    (schema({"not": {"type": "string"}}), "Unimplemented"),
    (schema({"$ref": "http://example.org/schema"}), "example.org"),
    (Grammar(SCHEMA, "[]"), "must be a JSON object"),
    (Grammar(SCHEMA, "{"), "not JSON"),
    (regex("("), "unclosed group"),
    (regex("a(?=b)"), "look-ahead"),
    (regex(""), "empty"),
    (regex("a" * 70_000), "70000 characters"),
    (Grammar(LARK, "start: nothing"), "unknown name"),
]
# Deeper than the stack of the trial, and small enough for the limit on characters.
CHAIN = {f"d{i}": {"items": {"$ref": f"#/$defs/d{i + 1}"}, "type": "array"} for i in range(1000)}
HOSTILE = [
    # A processor could spend years on this one …
    (schema({"type": "integer", "multipleOf": 123_456_789}), "takes more than"),
    # … and these overflow the stack.
    (schema({"$ref": "#/$defs/d0", "$defs": CHAIN | {"d1000": {"type": "null"}}}), "too deep"),
    (
        Grammar(LARK, "\n".join(f"A{i}: A{i + 1} /x/" for i in range(3000)) + '\nA3000: "a"'),
        "response_format",
    ),
]


def refusal(engine: Harness, grammar: Grammar) -> Failed:
    outcome = engine.outcome(engine.send(PROMPT, grammar=grammar))
    assert isinstance(outcome, Failed), outcome
    assert outcome.code is ErrorCode.INVALID_INPUT
    assert outcome.message.startswith("response_format: ")
    return outcome


@pytest.mark.parametrize(("grammar", "reason"), REFUSALS)
def test_a_bad_grammar_is_refused_with_the_reason(
    engine: Harness, grammar: Grammar, reason: str
) -> None:
    assert reason in refusal(engine, grammar).message


@pytest.mark.parametrize(("grammar", "reason"), HOSTILE)
def test_a_hostile_grammar_harms_nobody(engine: Harness, grammar: Grammar, reason: str) -> None:
    victim = engine.send(PROMPT, grammar=grammar)
    for _ in range(3):
        assert engine.ask(PROMPT, max_tokens=5).usage.completion_tokens == 5
    outcome = engine.outcome(victim)
    assert isinstance(outcome, Failed)
    assert reason in outcome.message
    # The answer is remembered, and the next good one is served.
    assert refusal(engine, grammar).message == outcome.message
    assert ask(engine, regex("[a-c]{2}")).finish_reason is FinishReason.STOP


def test_a_request_can_be_cancelled_while_its_grammar_is_compiled(engine: Harness) -> None:
    slow = schema({"type": "integer", "multipleOf": 123_456_787})
    waiting = [engine.send(PROMPT, grammar=slow), engine.send(PROMPT, grammar=regex("[x-z]{2}"))]
    for request_id in waiting:
        engine.engine.cancel(request_id)
        outcome = engine.outcome(request_id)
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.CANCELLED
    # The compiler is busy still; when it answers, nobody is there, and nothing comes of it.
    assert ask(engine, regex("[x-z]{3}")).usage.completion_tokens == 3
    assert [engine.num_left(request_id) for request_id in waiting] == [0, 0]


def test_a_tokenizer_that_is_not_made_of_bytes_is_told_or_served(tiny_model: Path) -> None:
    with running_engine(tiny_model) as harness:
        outcome = harness.outcome(harness.send(PROMPT, grammar=regex("[a-z]{3}"), max_tokens=5))
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.INVALID_INPUT
        assert harness.ask(PROMPT, max_tokens=3).usage.completion_tokens == 3


def test_a_deadline_ends_a_request_whose_grammar_is_compiled_still(byte_model: Path) -> None:
    slow = schema({"type": "integer", "multipleOf": 123_456_785})
    with running_engine(byte_model) as harness:
        outcome = harness.outcome(harness.send(PROMPT, grammar=slow, timeout=0.3))
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.DEADLINE_EXCEEDED
        # The engine stops without waiting for the compiler.


def test_a_drain_ends_a_request_whose_grammar_is_compiled_still(byte_model: Path) -> None:
    slow = schema({"type": "integer", "multipleOf": 123_456_783})
    with running_engine(byte_model) as harness:
        request_id = harness.send(PROMPT, grammar=slow)
        harness.engine.drain(0.3)
        outcome = harness.outcome(request_id)
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.NO_WORKER
        assert harness.drained.get(timeout=60).num_aborted == 1
