"""Whatever JSON comes in under /v1: it is served, or refused in OpenAI's form; never a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.http import HttpResponse
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.services.limits import set_limits
from inference.openai_api import answers
from inference.presence import WorkerReport, announce
from tests.conftest import MODEL, Caller

WORDS = ["user", "assistant", "tool", "text", "function", "required", "auto", "json_schema", "$ref",
         "input_text", "output_text", "function_call", "function_call_output", "message"]  # fmt: skip
KEYS = [
    "call_id", "output", "format", "annotations",
    "role", "content", "name", "tool_calls", "tool_call_id", "type", "text", "function", "id",
    "arguments", "parameters", "strict", "json_schema", "schema", "include_usage", "$ref",
]  # fmt: skip
FIELDS = [
    "messages", "prompt", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "stop",
    "seed", "logit_bias", "logprobs", "top_logprobs", "response_format", "stream",
    "stream_options", "tools", "tool_choice", "user", "top_k", "min_p", "min_tokens", "ignore_eos",
    "echo", "input", "text", "instructions", "encoding_format", "dimensions",
]  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=6) | st.sampled_from(WORDS)
)  # fmt: skip
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=10,
)
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system"])},
    optional={"content": JSON, "name": JSON, "tool_calls": JSON, "tool_call_id": JSON},
)
ITEM = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "function_call", "function_call_output"])},
    optional={"role": st.just("user"), "content": JSON, "call_id": JSON, "name": JSON,
              "arguments": JSON, "output": JSON, "id": JSON},
)  # fmt: skip
FUNCTION = st.fixed_dictionaries(
    {"name": st.sampled_from(["f", "g"])}, optional={"parameters": JSON, "description": JSON}
)
TOOL = st.fixed_dictionaries({"type": st.just("function"), "function": FUNCTION})
BODY = st.fixed_dictionaries(
    {"messages": st.just([{"role": "user", "content": "x"}]) | st.lists(TURN | ITEM, max_size=3) | JSON},
    optional={"tools": st.lists(TOOL, max_size=2) | JSON,
              "tool_choice": st.sampled_from(["none", "required"]) | JSON},
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting(redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A live worker's word, and no waiting for what it would never say."""

    async def give(request: Any, submitted: Any, shape: Any) -> HttpResponse:
        return HttpResponse("{}")

    monkeypatch.setattr(answers, "collect", give)
    monkeypatch.setattr(answers, "stream", give)


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"]
)
def test_any_body_is_served_or_refused(
    member: Caller, model: Any, redis_client: Any, path: str
) -> None:
    set_limits(actor=None, subject=f"user:{member.user.username}", inference_per_minute=-1)
    seen: set[int] = set()

    @hypothesis_settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(BODY, st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
    def ask(body: dict[str, Any], more: dict[str, Any]) -> None:
        redis_client.delete("lg:inference")
        announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8))
        if path == "/v1/completions":
            body = {"prompt": "x"}
        elif path == "/v1/responses":
            body = body | {"input": body.pop("messages")}
        elif path == "/v1/embeddings":
            body = {"input": "x"}
        response = member.post(path, json.dumps({"model": MODEL, **body, **more}))
        seen.add(response.status_code)
        assert response.status_code in (200, 400), response.content
        if response.status_code == 400:
            assert set(json.loads(response.content)["error"]) == {
                "message",
                "type",
                "param",
                "code",
            }

    ask()
    assert seen == {200, 400}
