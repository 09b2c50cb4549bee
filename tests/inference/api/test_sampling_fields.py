"""What a valid call's structured parameters become on their way to the engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference import wire
from inference.api.serializers import SamplingSerializer, read_params
from inference.protocol import Grammar, GrammarKind, SamplingParams


def read(body: dict[str, Any]) -> SamplingParams:
    serializer = SamplingSerializer(data=body)
    serializer.is_valid(raise_exception=True)
    return read_params(serializer.validated_data, body)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORMATS: list[tuple[Any, Grammar | None]] = [
    (None, None),
    ({"type": "text"}, None),
    ({"type": "json_object"}, Grammar(GrammarKind.JSON_OBJECT)),
    ({"type": "regex", "regex": " a|b "}, Grammar(GrammarKind.REGEX, " a|b ")),
    ({"type": "grammar", "grammar": 'start: "a"'}, Grammar(GrammarKind.LARK, 'start: "a"')),
    (
        {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
        Grammar(GrammarKind.JSON_SCHEMA, json.dumps(SCHEMA)),
    ),
]


@pytest.mark.parametrize(("response_format", "grammar"), FORMATS)
def test_a_response_format_becomes_a_grammar(response_format: Any, grammar: Grammar | None) -> None:
    assert read({"response_format": response_format}).grammar == grammar


def test_biases_become_pairs_by_id() -> None:
    params = read({"logit_bias": {"10": 1, "9": -100}})
    assert params.logit_bias == ((9, -100.0), (10, 1.0))
    assert read({"logit_bias": None}).logit_bias == ()


def test_nothing_asked_for_is_nothing_set() -> None:
    assert read({}) == SamplingParams()


def test_the_parameters_survive_the_row_and_the_wire() -> None:
    params = read({"logit_bias": {"9": 1.5}, "response_format": FORMATS[-1][0]})
    row = json.loads(json.dumps(wire.to_builtins(params)))
    assert wire.from_builtins(SamplingParams, row) == params
