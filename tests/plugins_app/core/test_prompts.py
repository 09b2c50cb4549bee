"""The core plugins that read prompts and tell models' ways."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plugins_app.base import AdaptContext, Message, PluginRefusal, PromptContext
from plugins_app.settings_schema import SettingsError
from tests.plugins_app.core.conftest import Running, Start

TEXT = PromptContext("r", "m", "hi", None)
SYSTEM, USER = Message("system", "own"), Message("user", "hi")
ADAPT = AdaptContext("r", "m", "LlamaForCausalLM", "cpu", "viewer", None, (USER,))


def chat(*turns: Message) -> PromptContext:
    return PromptContext("r", "m", None, turns)


@pytest.mark.parametrize(
    ("mode", "turns", "expected"),
    [
        ("before", (USER,), (Message("system", "Be brief."), USER)),
        ("before", (SYSTEM, USER), (Message("system", "Be brief.\n\nown"), USER)),
        ("replace", (SYSTEM, USER), (Message("system", "Be brief."), USER)),
        ("if_missing", (SYSTEM, USER), (SYSTEM, USER)),
        ("if_missing", (USER,), (Message("system", "Be brief."), USER)),
    ],
)
def test_a_system_prompt_is_put_in_front(
    mode: str, turns: tuple[Message, ...], expected: tuple[Message, ...], start: Start
) -> None:
    assert start("system_prompt", text="Be brief.", mode=mode)(chat(*turns)).messages == expected


def test_a_plain_text_gets_it_as_its_first_paragraph(start: Start) -> None:
    assert start("system_prompt", text="Be brief.")(TEXT).text == "Be brief.\n\nhi"
    assert start("system_prompt", text="Be brief.", plain_text=False)(TEXT) == TEXT


def test_a_system_prompt_must_be_given() -> None:
    with pytest.raises(SettingsError):
        Running("system_prompt", {})


def test_the_guard_lets_pass_what_fits(start: Start) -> None:
    guard = start("prompt_size_guard", max_characters=4, max_messages=2, max_message_characters=2)
    assert guard(TEXT) == TEXT
    assert guard(chat(USER, USER)) == chat(USER, USER)


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        (replace(TEXT, text="hello"), "the prompt has 5 characters, at most 4 are accepted"),
        (chat(Message("user", "abc")), "a message has 3 characters, at most 2 are accepted"),
        (chat(*[Message("user", "")] * 3), "the conversation has 3 messages, at most 2"),
    ],
)
def test_the_guard_says_what_is_too_large(
    context: PromptContext, reason: str, start: Start
) -> None:
    guard = start("prompt_size_guard", max_characters=4, max_messages=2, max_message_characters=2)
    with pytest.raises(PluginRefusal, match=reason):
        guard(context)


def test_the_adapter_tells_the_models_ways(start: Start) -> None:
    adapter = start(
        "model_adapter", chat_template="{{ x }}", stop=["###", "END"], defaults={"top_k": 40},
        unicode="NFC",
    )  # fmt: skip
    context = replace(ADAPT, stop=("END",), messages=(Message("user", "e\u0301"),))
    adapted = adapter(context)
    assert (adapted.chat_template, adapted.stop) == ("{{ x }}", ("END", "###"))
    assert adapted.defaults == {"top_k": 40}
    assert adapted.messages == (Message("user", "\u00e9"),)
    text = adapter(replace(ADAPT, messages=None, text="e\u0301"))
    assert text.text == "\u00e9"


def test_the_adapter_is_for_its_architectures(start: Start) -> None:
    adapter = start("model_adapter", architectures=["Qwen2ForCausalLM"], stop=["x"])
    assert adapter(ADAPT) == ADAPT
    assert adapter(replace(ADAPT, architecture="Qwen2ForCausalLM")).stop == ("x",)


def test_a_remote_model_is_given_no_template(start: Start) -> None:
    adapter = start("model_adapter", chat_template="{{ x }}", stop=["x"])
    adapted = adapter(replace(ADAPT, backend="remote"))
    assert (adapted.chat_template, adapted.stop) == (None, ("x",))


def test_an_adapter_without_settings_changes_nothing(start: Start) -> None:
    assert start("model_adapter")(ADAPT) == ADAPT
