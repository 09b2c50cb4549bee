"""The engine's own border: every parameter out of range is refused by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from inference.engine.admission import check_length, check_params, check_timeout, check_tokens
from inference.engine.errors import RequestError
from inference.protocol import SamplingParams
from llamagpu.lib.error_codes import ErrorCode

GOOD: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"temperature": 2.0, "top_p": 1.0, "top_k": 0, "min_p": 1.0},
    {"seed": 2**64 - 1},
    {"seed": -(2**63)},
    {"logprobs": 0},
    {"logprobs": 20},
    {"stop": ("a",) * 8},
    {"n": 16},
    {"logit_bias": ((0, 100.0), (1, -100.0))},
    {"logit_bias": tuple((token_id, 1.0) for token_id in range(1024))},
    {"min_tokens": 100},
    {"presence_penalty": -2.0, "frequency_penalty": 2.0, "repetition_penalty": 0.1},
]
BAD: list[tuple[str, Any]] = [
    ("max_tokens", -1),
    ("max_tokens", -5),
    ("temperature", -0.1),
    ("temperature", 2.01),
    ("temperature", math.nan),
    ("temperature", math.inf),
    ("top_p", 0.0),
    ("top_p", 1.1),
    ("top_k", -1),
    ("min_p", -0.1),
    ("min_p", 1.5),
    ("repetition_penalty", 0.0),
    ("repetition_penalty", math.inf),
    ("repetition_penalty", 1e-9),
    ("presence_penalty", 2.5),
    ("frequency_penalty", -2.5),
    ("min_tokens", -1),
    ("min_tokens", 101),
    ("logprobs", 21),
    ("logprobs", -1),
    ("seed", 2**64),
    ("stop", ("a",) * 17),
    ("stop", ("",)),
    ("stop", ("a" * 1025,)),
    ("n", 0),
    ("n", 17),
    ("logit_bias", ((1, 100.1),)),
    ("logit_bias", ((1, math.nan),)),
    ("logit_bias", ((1, -math.inf),)),
    ("logit_bias", tuple((token_id, 1.0) for token_id in range(1025))),
]


@pytest.mark.parametrize("fields", GOOD)
def test_parameters_in_range_pass(fields: dict[str, Any]) -> None:
    check_params(SamplingParams(**fields))


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_parameter_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(RequestError, match=name) as refusal:
        check_params(SamplingParams(**{name: value}))
    assert refusal.value.code is ErrorCode.INVALID_INPUT


@pytest.mark.parametrize("timeout", [0.0, -1.0, math.nan, math.inf])
def test_a_time_limit_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(RequestError, match="timeout"):
        check_timeout(timeout)


@pytest.mark.parametrize(
    ("num_prompt", "max_tokens", "match"),
    [(100, 1, "holds 100"), (500, 1, "holds 100"), (60, 41, "lower max_tokens to 40")],
)
def test_what_does_not_fit_the_context_is_refused(
    num_prompt: int, max_tokens: int, match: str
) -> None:
    with pytest.raises(RequestError, match=match) as refusal:
        check_length(num_prompt, max_tokens, 100)
    assert refusal.value.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED


def test_the_context_may_be_filled() -> None:
    check_length(60, 40, 100)


@pytest.mark.parametrize("biases", [((-1, 1.0),), ((264, 1.0),), ((2**40, 1.0),), ((5, 1.0),) * 2])
def test_a_bias_of_a_token_that_is_none_is_refused(biases: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(RequestError, match="logit_bias names") as refusal:
        check_tokens(SamplingParams(logit_bias=biases), 264)
    assert refusal.value.code is ErrorCode.INVALID_INPUT


def test_every_token_of_the_model_may_have_a_bias() -> None:
    check_tokens(SamplingParams(logit_bias=((0, 1.0), (263, 1.0))), 264)
