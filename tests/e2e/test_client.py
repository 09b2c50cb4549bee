"""The Python client against the whole stack: the real model, connections that are really cut."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

import llamagpu_client as lg
from llamagpu_client import AsyncClient, Batch, Client
from tests.e2e.conftest import LONG, Stack, wait_until

QUESTION = "What is the capital of France?"
TALE = {name: value for name, value in LONG.items() if name != "text"} | {"max_tokens": 40}


def key_of(stack: Stack) -> str:
    return stack.headers["Authorization"].removeprefix("Bearer ")


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.url, key_of(stack)) as client:
        yield client


@contextmanager
def cutting_proxy(port: int, after: int) -> Iterator[str]:
    """The address of a way to `port` whose first connection breaks after that many bytes of answer."""
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def begin(run: Callable[..., None], *arguments: Any) -> None:
        threads.append(threading.Thread(target=run, args=arguments))
        threads[-1].start()

    def pass_on(source: socket.socket, target: socket.socket, budget: int) -> None:
        with suppress(OSError):
            while budget > 0 and (data := source.recv(256)):
                target.sendall(data[:budget])
                budget -= len(data)
        end(source, target)

    def serve(server: socket.socket) -> None:
        budget = after
        with suppress(OSError):
            while True:
                near, far = server.accept()[0], socket.create_connection(("127.0.0.1", port))
                sockets.extend([near, far])
                begin(pass_on, near, far, 10**9)
                begin(pass_on, far, near, budget)
                budget = 10**9

    with socket.create_server(("127.0.0.1", 0)) as server:
        begin(serve, server)
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            end(server, *sockets)
            for thread in threads:
                thread.join(30)
            for each in sockets:
                each.close()


def end(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def test_it_answers_a_text_and_a_conversation(client: Client) -> None:
    answer = client.infer(QUESTION, temperature=0)
    assert "Paris" in answer.generated_text
    assert answer.usage.total_tokens > answer.usage.prompt_tokens > 0
    again = client.infer([{"role": "user", "content": QUESTION}], temperature=0)
    assert again.generated_text == answer.generated_text


def test_it_streams_what_it_would_have_answered(client: Client) -> None:
    whole = client.infer(QUESTION, temperature=0).generated_text
    with client.stream(QUESTION, temperature=0) as stream:
        assert "".join(token.text for token in stream) == whole
    assert stream.result.generated_text == whole


@pytest.mark.parametrize("after", [600, 2000, 5000])
def test_a_cut_stream_goes_on_where_it_was(stack: Stack, client: Client, after: int) -> None:
    whole = client.infer(str(LONG["text"]), **TALE).generated_text
    with cutting_proxy(stack.port, after) as address, Client(address, key_of(stack)) as through:
        tokens = list(through.stream(str(LONG["text"]), **TALE))
    assert "".join(token.text for token in tokens) == whole
    positions = [token.position for token in tokens]
    assert positions == sorted(set(positions))


def test_leaving_a_stream_ends_its_job(client: Client) -> None:
    stream = client.stream(str(LONG["text"]), **TALE)
    for _ in stream:
        break
    state = wait_until(lambda: ended_state(client, stream.job_id), "the job ends")
    assert state == "cancelled"


def ended_state(client: Client, job_id: str) -> str | None:
    state = client.jobs.get(job_id).state
    return None if state in ("queued", "running") else state


def test_a_batch_tells_how_far_it_is(client: Client) -> None:
    told: list[Batch] = []
    inputs = [QUESTION, {"id": "bad", "text": "x", "temperature": 9}]
    answer = client.batch(inputs, temperature=0, max_tokens=8, on_progress=told.append)
    assert [item.id for item in answer.results] == ["0", "bad"]
    assert (answer.items_processed, answer.items_failed) == (1, 1)
    assert answer.results[1].error and answer.results[1].error["code"] == "INVALID_INPUT"
    assert told[-1].is_done
    waited = client.batch(inputs, temperature=0, max_tokens=8)
    assert waited.results[0].generated_text == answer.results[0].generated_text
    assert client.batches.cancel(answer.batch_id).is_done
    assert waited.batch_id in [batch.batch_id for batch in client.batches.list(limit=5).items]


def test_jobs_are_listed_and_explained(client: Client) -> None:
    answer = client.infer(QUESTION, temperature=0)
    page = client.jobs.list(limit=1)
    assert page.items[0].job_id == answer.job_id
    assert page.next_cursor
    job = client.jobs.get(answer.job_id)
    assert job.content and job.content["output"] == answer.generated_text
    stages = [event.stage for event in client.jobs.timeline(answer.job_id)]
    assert stages[0] == "admission"
    assert {"queue", "prefill", "decode", "end"} <= set(stages)
    first_three = [
        job.job_id for job, _ in zip(client.jobs.iterate(limit=2), range(3), strict=False)
    ]
    assert len(set(first_three)) == 3


def test_models_are_listed_and_led(client: Client) -> None:
    (model,) = [model for model in client.models.list() if model.is_default]
    assert client.models.get(model.id).context_length > 0
    unloaded = client.models.unload(model.id)
    assert unloaded.freed_memory and unloaded.state == "available"
    client.models.load(model.id)
    wait_until(lambda: client.models.progress(model.id)["state"] == "ready", "it is loaded", 120)
    assert client.models.change(model.id, keep_alive=None).id == model.id
    with pytest.raises(lg.ModelNotFound):
        client.models.get("nothing")


def test_it_says_who_the_caller_is(client: Client) -> None:
    me = client.me()
    assert (me.username, me.role) == ("admin", "admin")
    assert me.key and me.key["name"] == "e2e"
    assert {row["limit"] for row in client.limits()} >= {"inference_per_minute"}


def test_refusals_name_field_and_request(stack: Stack, client: Client) -> None:
    with pytest.raises(lg.InvalidInput) as wrong:
        client.infer(QUESTION, temperature=3)
    assert wrong.value.field == "temperature"
    assert wrong.value.request_id
    with pytest.raises(lg.ContextLengthExceeded):
        client.infer("llama " * 9000)
    with Client(stack.url, "lg_wrong") as stranger, pytest.raises(lg.AuthenticationFailed):
        stranger.me()
    nobody = Client("http://127.0.0.1:1", "lg_k", max_retries=0)
    with nobody, pytest.raises(lg.ConnectionFailed):
        nobody.me()


async def test_the_asynchronous_client_does_the_same(stack: Stack, client: Client) -> None:
    whole = client.infer(str(LONG["text"]), **TALE).generated_text
    async with AsyncClient(stack.url, key_of(stack)) as other:
        first, second = await asyncio.gather(
            other.infer(QUESTION, temperature=0), other.batch([QUESTION], temperature=0)
        )
        assert first.generated_text == second.results[0].generated_text
        async with other.stream(str(LONG["text"]), **TALE) as left:
            async for _ in left:
                break
        assert (await other.jobs.get(left.job_id)).state in ("running", "cancelled")
        assert (await other.me()).username == "admin"
    with cutting_proxy(stack.port, 2000) as address:
        async with AsyncClient(address, key_of(stack)) as through:
            stream = through.stream(str(LONG["text"]), **TALE)
            assert "".join([token.text async for token in stream]) == whole
    job_id = left.job_id
    assert wait_until(lambda: ended_state(client, job_id), "the job ends") == "cancelled"


def test_a_call_that_was_cut_runs_once(stack: Stack, client: Client) -> None:
    """The answer's head is lost on the way; the second try gets the first one's job."""
    sent: list[httpx.Request] = []

    class Losing(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            sent.append(request)
            response = super().handle_request(request)
            if len(sent) == 1:
                response.read()
                raise httpx.ReadError("lost")
            return response

    before = client.jobs.list(limit=1).items[0].job_id
    with Client(stack.url, key_of(stack), transport=Losing()) as losing:
        answer = losing.infer(QUESTION, temperature=0)
    assert len(sent) == 2
    jobs = client.jobs.list(limit=2).items
    assert [job.job_id for job in jobs] == [answer.job_id, before]
