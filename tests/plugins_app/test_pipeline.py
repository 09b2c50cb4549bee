"""The plugins of one request: in order, in their place, by their policy."""

from __future__ import annotations

from typing import Any

import pytest

from llamagpu.lib.error_codes import ErrorCode
from plugins_app.base import (
    AdaptContext,
    Hook,
    Message,
    PluginCategory,
    PromptContext,
    ResultContext,
)
from plugins_app.pipeline import (
    EMPTY_CHAIN,
    Chain,
    PluginFailedError,
    PluginRefusedError,
)
from plugins_app.spec import FailurePolicy
from tests.plugins_app.links import link
from tests.plugins_app.sample_plugins import Broken, Refuses, Returns, Same, Suffix

PROMPT = PromptContext(request_id="r", model="m", text="hello", messages=None)
CHAT = PromptContext(request_id="r", model="m", text=None, messages=(Message("user", "hello"),))
RESULT = ResultContext(request_id="r", model="m", text="world")
ADAPT = AdaptContext("r", "m", "LlamaForCausalLM", "cpu", "viewer", "hello", None)
CLOSED = FailurePolicy.FAIL_CLOSED
BEFORE, AFTER = PluginCategory.PRE_PROCESSOR, PluginCategory.OUTPUT_PROCESSOR


def test_plugins_run_in_their_order() -> None:
    chain = Chain(
        [
            link(Suffix, "b", BEFORE, order=20, suffix="-b"),
            link(Suffix, "a", BEFORE, order=10, suffix="-a"),
        ]
    )
    prompt, acted = chain.prompt(PROMPT)
    assert prompt.text == "hello-a-b"
    assert acted == ["a", "b"]


def test_each_category_runs_at_its_own_time() -> None:
    chain = Chain([link(Suffix, "a", BEFORE, suffix="1"), link(Suffix, "b", AFTER, suffix="2")])
    assert chain.prompt(PROMPT)[1] == ["a"]
    result, acted = chain.result(RESULT)
    assert (result.text, acted) == ("world2", ["b"])


def test_who_changed_nothing_did_not_act() -> None:
    assert Chain([link(Same, "s", BEFORE)]).prompt(PROMPT) == (PROMPT, [])


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"text": "not a context"},
        RESULT,
        PromptContext("r", "m", None, None),
        PromptContext("r", "m", None, (Message("user", "a chat"),)),
        PromptContext("r", "m", 5, None),  # type: ignore[arg-type]
        PromptContext("r", "m", "half of a pair: \ud83d", None),
        PromptContext("r", "m", "x" * (4 * 1024 * 1024 + 1), None),
    ],
)
def test_what_is_no_such_prompt_is_skipped(value: Any) -> None:
    chain = Chain(
        [link(Returns, "bad", BEFORE, value=value), link(Suffix, "good", BEFORE, suffix="!")]
    )
    prompt, acted = chain.prompt(PROMPT)
    assert (prompt.text, acted) == ("hello!", ["good"])


@pytest.mark.parametrize(
    "messages",
    [
        (),
        [Message("user", "a list")],
        (Message("emperor", "hi"),),
        (Message("user", None),),  # type: ignore[arg-type]
        ({"role": "user", "content": "hi"},),
    ],
)
def test_what_is_no_chat_is_skipped(messages: Any) -> None:
    value = PromptContext("r", "m", None, messages)
    assert Chain([link(Returns, "bad", BEFORE, value=value)]).prompt(CHAT) == (CHAT, [])


def test_a_plugin_changes_nothing_but_the_words() -> None:
    value = PromptContext("another", "another model", "hi", None, role="administrator")
    prompt, _ = Chain([link(Returns, "p", BEFORE, value=value)]).prompt(PROMPT)
    assert prompt == PromptContext("r", "m", "hi", None)


def test_a_plugin_that_failed_is_left_out_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chain = Chain([link(Broken, "bad", BEFORE), link(Suffix, "good", BEFORE, suffix="!")])
    assert chain.prompt(PROMPT)[0].text == "hello!"
    assert "plugin 'bad', prompt: skipped" in caplog.text


def test_a_plugin_that_must_not_fail_ends_the_request() -> None:
    chain = Chain([link(Broken, "guard", BEFORE, policy=CLOSED)])
    with pytest.raises(PluginFailedError, match="'guard' failed") as caught:
        chain.prompt(PROMPT)
    assert caught.value.code is ErrorCode.PLUGIN_FAILED
    assert "oh" not in str(caught.value)


def test_a_refusal_names_the_plugin_and_its_reason() -> None:
    with pytest.raises(
        PluginRefusedError, match="'r' refused this request: no such words"
    ) as caught:
        Chain([link(Refuses, "r", BEFORE)]).prompt(PROMPT)
    assert caught.value.code is ErrorCode.PLUGIN_REFUSED


def test_a_reason_is_one_short_line() -> None:
    assert str(PluginRefusedError("p", "a\n\x1b[31mb\u2028c")).endswith(": a  [31mb c")
    assert len(str(PluginRefusedError("p", "x" * 9000))) < 400
    assert "no reason" in str(PluginRefusedError("p", ""))


def test_a_plugin_is_there_for_its_models_and_roles() -> None:
    links = [
        link(Suffix, "model", BEFORE, models=("m",), suffix="-m"),
        link(Suffix, "role", BEFORE, roles=("viewer",), suffix="-v"),
        link(Suffix, "both", BEFORE, models=("x",), roles=("viewer",), suffix="-no"),
    ]
    assert Chain.of(links, "m", "admin").prompt(PROMPT)[0].text == "hello-m"
    assert Chain.of(links, "other", "viewer").prompt(PROMPT)[0].text == "hello-v"
    assert Chain.of(links, "m", "viewer").prompt(PROMPT)[0].text == "hello-m-v"


def test_without_plugins_nothing_is_made() -> None:
    assert Chain.of((), "m", "viewer") is EMPTY_CHAIN
    assert EMPTY_CHAIN.prompt(PROMPT) == (PROMPT, [])
    assert not any(EMPTY_CHAIN.has(hook) for hook in Hook)


def test_an_adapter_may_change_the_manner_of_speaking() -> None:
    value = AdaptContext(
        "x", "x", "x", "x", "x", "HELLO", None, "{{ messages }}", ("END",), {"temperature": 0.2}
    )
    adapted, acted = Chain([link(Returns, "a", Hook.ADAPT, value=value)]).adapt(
        ADAPT, lambda _: None
    )
    assert acted == ["a"]
    assert (adapted.text, adapted.stop, adapted.defaults) == (
        "HELLO",
        ("END",),
        {"temperature": 0.2},
    )
    assert (adapted.request_id, adapted.backend, adapted.role) == ("r", "cpu", "viewer")


def test_what_the_model_cannot_be_told_is_the_plugins_fault() -> None:
    def check(context: AdaptContext) -> None:
        raise ValueError("no such thing")

    assert Chain([link(Same, "a", Hook.ADAPT)]).adapt(ADAPT, check) == (ADAPT, [])
    with pytest.raises(PluginFailedError):
        Chain([link(Same, "a", Hook.ADAPT, policy=CLOSED)]).adapt(ADAPT, check)


def test_token_ids_are_refused_by_who_must_read_the_prompt() -> None:
    Chain([link(Same, "p", BEFORE)]).refuse_unreadable()
    with pytest.raises(PluginRefusedError, match=r"'guard'.*token ids"):
        Chain([link(Same, "guard", BEFORE, policy=CLOSED)]).refuse_unreadable()
