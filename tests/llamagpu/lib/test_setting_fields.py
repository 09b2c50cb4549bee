"""One rule and one message, whichever way a value comes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from llamagpu.lib.config import LlamaConfig
from llamagpu.lib.env import Env, EnvError
from llamagpu.lib.setting_fields import FIELD_BY_NAME, SETTING_FIELDS


def test_every_field_is_one_of_the_configuration_and_declared_once() -> None:
    names = [field.name for field in SETTING_FIELDS]
    assert len(names) == len(set(names))
    assert set(names) <= {field.name for field in fields(LlamaConfig)}
    variables = [field.variable for field in SETTING_FIELDS]
    assert variables == [f"LLAMA_{name.upper()}" for name in names]


@pytest.mark.parametrize("name", sorted(FIELD_BY_NAME))
def test_a_default_is_shown_and_reads_back_as_itself(name: str, tmp_path: Path) -> None:
    field = FIELD_BY_NAME[name]
    value = getattr(LlamaConfig.from_env(Env({}), tmp_path), name)
    shown = field.kind.show(value)
    assert field.parse(shown) == value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_queue", 0, "must be between 1 and 100000"),
        ("max_queue", "5", "must be a whole number"),
        ("max_queue", True, "must be a whole number"),
        ("max_queue", 1.0, "must be a whole number"),
        ("max_queue", 10**400, "must be between 1 and 100000"),
        ("max_queue", [], "must be a whole number"),
        ("backend", "tpu", "must be one of auto, cuda, rocm, cpu"),
        ("backend", 1, "must be a string"),
        ("backend", " ", "must not be empty"),
        ("optimization_level", "4", "must be one of"),
        ("max_memory", "101%", "at most 100%"),
        ("max_memory", "much", "must be a percentage like 80%"),
        ("devices", [0, -1], "must be whole numbers"),
        ("devices", [True], "must be an array of whole numbers"),
        ("devices", "0", "must be an array of whole numbers"),
        ("devices", [1024], "must be between 0 and 1023"),
        ("default_model", "../secret", "must be a name"),
        ("default_model", "x" * 129, "must be a name"),
        ("default_model", {"a": 1}, "must be a string"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: Any, message: str) -> None:
    with pytest.raises(EnvError, match=f"^{name}.*{message}"):
        FIELD_BY_NAME[name].parse(value)


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("max_queue", "17", 17),
        ("max_queue", "many", "many"),
        ("daily_tokens", "-1", -1),
        ("devices", "0, 1", [0, 1]),
        ("devices", "", []),
        ("devices", "x", "x"),
        ("backend", "cpu", "cpu"),
        ("max_memory", "4GiB", "4GiB"),
    ],
)
def test_what_is_typed_becomes_json(name: str, typed: str, value: Any) -> None:
    assert FIELD_BY_NAME[name].kind.from_form(typed) == value


def test_choices_are_not_case_sensitive_as_in_the_environment() -> None:
    assert FIELD_BY_NAME["log_level"].parse("DEBUG") == "DEBUG"
    assert FIELD_BY_NAME["optimization_level"].parse("auto") is None
    assert FIELD_BY_NAME["optimization_level"].parse("2") == 2
