"""Jobs that embed, through plugins, engine and stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accounts.models import UsageDay
from inference import wire
from inference.models import InferenceJob
from inference.protocol import DoneEvent, ErrorEvent, GenerationJob, Prompt
from inference.services.answers import done_event_of
from inference.services.attempts import message_for
from inference.states import JobKind
from inference.worker.generation import JobRunner
from llamagpu.lib.error_codes import ErrorCode
from plugins_app.base import PluginCategory
from tests.inference.worker.test_generation import run
from tests.plugins_app.links import link
from tests.plugins_app.sample_plugins import Refuses, Suffix

Runner = Callable[..., JobRunner]
Job = Callable[..., GenerationJob]
BEFORE, AFTER = PluginCategory.PRE_PROCESSOR, PluginCategory.OUTPUT_PROCESSOR
INPUTS = Prompt(inputs=(Prompt(text="one", is_raw=True), Prompt(text="two", is_raw=True)))


def embedding_job(make_job: Job) -> GenerationJob:
    make_job("x", kind=JobKind.EMBED)
    row = InferenceJob.objects.select_related("model").get()
    row.prompt = wire.to_builtins(INPUTS)
    row.save()
    return message_for(row)


def test_vectors_reach_stream_and_row(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    done = run(make_runner(), embedding_job(make_job), redis_client)[-1]
    assert isinstance(done, DoneEvent)
    assert done.embeddings == (b"one ", b"two ")
    row = InferenceJob.objects.select_related("model").get()
    assert (row.state, row.output, row.prompt_tokens, row.completion_tokens) == (
        "succeeded", "", 2, 0,
    )  # fmt: skip
    assert done_event_of(row).embeddings == done.embeddings


def test_every_input_passes_the_plugins_and_no_text_comes_out(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    plugins = [link(Suffix, "p", BEFORE, suffix="-p"), link(Suffix, "q", AFTER, suffix="-q")]
    done = run(make_runner(plugins=plugins), embedding_job(make_job), redis_client)[-1]
    assert isinstance(done, DoneEvent)
    assert done.embeddings == (b"one-p   ", b"two-p   ")
    assert (done.text, done.plugins) == ("", ("p",))


def test_a_plugin_may_refuse_an_input(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    plugins = [link(Refuses, "r", BEFORE)]
    (error,) = run(make_runner(plugins=plugins), embedding_job(make_job), redis_client)
    assert isinstance(error, ErrorEvent)
    assert error.code is ErrorCode.PLUGIN_REFUSED


def test_what_was_read_is_billed(make_runner: Runner, make_job: Job, redis_client: Any) -> None:
    run(make_runner(), embedding_job(make_job), redis_client)
    record = UsageDay.objects.get()
    assert (record.prompt_tokens, record.completion_tokens) == (2, 0)
