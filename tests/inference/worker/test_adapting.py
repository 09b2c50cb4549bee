"""Model adapters: what an engine is told because of them, and what they may not ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from inference.models import InferenceJob
from inference.protocol import GenerationJob, Prompt, SamplingParams
from inference.worker.adapting import check_adapted, with_defaults
from inference.worker.generation import JobRunner
from llamagpu.lib.error_codes import ErrorCode
from plugins_app.base import AdaptContext, Hook
from plugins_app.spec import FailurePolicy
from tests.inference.worker.test_generation import run
from tests.plugins_app.links import Plain, link

Runner = Callable[..., JobRunner]
Job = Callable[..., GenerationJob]
CONTEXT = AdaptContext("r", "m", "LlamaForCausalLM", "cpu", "viewer", "hi", None)


class Adapts(Plain):
    """Changes what it is told to, and keeps what it saw."""

    def execute(self, input_data: AdaptContext) -> AdaptContext:
        self.seen = input_data
        return replace(input_data, **self.config)


def test_the_engine_is_told_what_an_adapter_adds(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = make_job("show temperature top_k stop chat_template")
    job = replace(
        job,
        role="operator",
        params=replace(job.params, temperature=0.7, stop=("A",), given=("stop", "temperature")),
    )
    adapter = link(
        Adapts, "adapter", Hook.ADAPT, chat_template="{{ messages }}", stop=("B", "A"),
        defaults={"temperature": 0.1, "top_k": 40},
    )  # fmt: skip
    done = run(make_runner(plugins=[adapter]), job, redis_client)[-1]
    assert done.text == "0.7 40 ('A', 'B') '{{ messages }}' "
    assert done.plugins_before == ("adapter",)
    assert InferenceJob.objects.get().plugins == {"before": ["adapter"], "after": []}
    seen = adapter.plugin.seen
    assert (seen.architecture, seen.backend, seen.role) == ("Fake", "cpu", "operator")
    assert seen.given == ("stop", "temperature")


def test_an_adapter_may_rewrite_the_words_for_the_tokenizer(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    adapter = link(Adapts, "adapter", Hook.ADAPT, text="say other")
    assert (
        run(make_runner(plugins=[adapter]), make_job("say one"), redis_client)[-1].text == "other "
    )


def test_a_prompt_of_token_ids_has_no_words_to_rewrite(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = replace(make_job("x"), prompt=Prompt(token_ids=(1,)))
    adapter = link(Adapts, "a", Hook.ADAPT, policy=FailurePolicy.FAIL_CLOSED, text="words")
    event = run(make_runner(plugins=[adapter]), job, redis_client)[-1]
    assert event.code is ErrorCode.PLUGIN_FAILED
    assert (adapter.plugin.seen.text, adapter.plugin.seen.messages) == (None, None)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"chat_template": "{% if %}"}, "cannot be compiled"),
        ({"chat_template": "x" * 300_000}, "bytes"),
        ({"backend": "remote", "chat_template": "x"}, "remote model"),
        ({"stop": tuple("abcdefghi")}, "more than 8"),
        ({"stop": ("",)}, "1 to 256"),
        ({"stop": ("x" * 257,)}, "1 to 256"),
        ({"defaults": {"seed": 1}}, "no default for 'seed'"),
        ({"defaults": {"temperature": 3}}, "temperature cannot be 3"),
        ({"defaults": {"temperature": "warm"}}, "cannot be 'warm'"),
        ({"defaults": {"temperature": float("nan")}}, "cannot be nan"),
        ({"defaults": {"top_k": 1.5}}, "top_k cannot be 1.5"),
        ({"defaults": {"top_p": True}}, "cannot be True"),
        ({"defaults": {"top_p": 0}}, "top_p cannot be 0"),
        ({"defaults": {"max_tokens": 0}}, "max_tokens cannot be 0"),
    ],
)
def test_what_an_adapter_may_not_ask_for(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_adapted(replace(CONTEXT, **fields), SamplingParams())


def test_a_default_can_only_lower_the_number_of_tokens() -> None:
    """More has not been set aside for the caller."""
    more = replace(CONTEXT, defaults={"max_tokens": 500})
    assert with_defaults(SamplingParams(max_tokens=100), more).max_tokens == 100
    less = replace(CONTEXT, defaults={"max_tokens": 5})
    assert with_defaults(SamplingParams(max_tokens=100, min_tokens=9), less).max_tokens == 9
    given = SamplingParams(max_tokens=100, given=("max_tokens",))
    assert with_defaults(given, less).max_tokens == 100


def test_stop_strings_of_caller_and_adapters_fit_the_engine() -> None:
    from inference.engine.admission import check_params

    full = SamplingParams(stop=tuple("abcdefgh"))
    adapted = replace(CONTEXT, stop=tuple("ijklmnop"))
    check_adapted(adapted, full)
    check_params(with_defaults(full, adapted))
