"""A model that another server computes, through the whole stack."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.e2e.conftest import Stack, wait_until
from tests.fake_upstream import MODEL, FakeUpstream, cut_after, hang_after, say, status

ASK = {"text": "Hi", "model": "far", "max_tokens": 5}


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    server = FakeUpstream()
    yield server
    server.close()


@pytest.fixture(scope="module", autouse=True)
def far(stack: Stack, upstream: FakeUpstream) -> Iterator[None]:
    body = {"source": f"remote:{upstream.url}", "upstream_model": MODEL, "name": "far"}
    body |= {"context_length": 1000, "api_key": "sk-e2e"}  # type: ignore[dict-item]
    url = f"{stack.url}/api/models"
    registered = httpx.post(url, json=body, headers=stack.headers, timeout=30)
    assert registered.status_code == 201, registered.text
    yield
    removed = httpx.delete(f"{url}/far", headers=stack.headers, timeout=60)
    assert removed.status_code == 200, removed.text


def test_it_answers_like_every_model(stack: Stack, upstream: FakeUpstream) -> None:
    upstream.will(say("one ", "two"))
    answer = stack.infer(ASK).json()
    assert answer["result"]["generated_text"] == "one two"
    assert answer["result"]["backend"] == "remote"
    assert answer["metadata"]["usage"]["total_tokens"] == 9
    assert upstream.asked[-1].headers["authorization"] == "Bearer sk-e2e"
    key = stack.headers["Authorization"].removeprefix("Bearer ")
    client = openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key)
    chat = client.chat.completions.create(
        model="far", messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chat) == "one two"
    assert "max_tokens" not in upstream.asked[-1].body


def test_a_stream_that_breaks_off_there_begins_again_here(
    stack: Stack, upstream: FakeUpstream
) -> None:
    upstream.will(cut_after("lost "), say("well"))
    events = stack.stream(ASK)
    assert [event["event"] for event in events].count("restart") == 1
    assert events[-1]["final_text"] == "well"


def test_a_caller_who_leaves_ends_the_request_there(stack: Stack, upstream: FakeUpstream) -> None:
    upstream.hung_up.clear()
    num_asked = len(upstream.asked)
    upstream.will(hang_after("a"))
    url = f"{stack.url}/api/stream_infer"
    with httpx.stream("POST", url, json=ASK, headers=stack.headers, timeout=60) as response:
        lines = response.iter_lines()  # kept: httpx hangs up where nobody goes on with it
        next(lines)
        wait_until(lambda: len(upstream.asked) > num_asked, "the upstream is asked")
    assert upstream.hung_up.wait(30)


def test_refusals_and_absence_are_told(stack: Stack, upstream: FakeUpstream) -> None:
    upstream.will(status(400, {"error": {"message": f"no seed at {upstream.url}"}}))
    refused = stack.infer(ASK)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == (
        "The upstream refused the request: no seed at [address]"
    )
    upstream.will(status(429, Retry_After="3600"))
    assert stack.infer(ASK).status_code == 429
    upstream.will(say("well"))
    assert stack.text(ASK) == "well"


def test_many_at_once(stack: Stack, upstream: FakeUpstream) -> None:
    upstream.will(lambda handler: say(handler.asked.body["messages"][0]["content"])(handler))
    texts: dict[int, str] = {}

    def ask(number: int) -> None:
        texts[number] = stack.text({**ASK, "text": f"number {number}"})

    threads = [threading.Thread(target=ask, args=[number]) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert texts == {number: f"number {number}" for number in range(24)}
