"""POST /v1/embeddings: what a call becomes, what it answers, what it refuses."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from django.test import RequestFactory

from accounts.models import TokenReservation
from accounts.rights_watch import Holder
from accounts.services.limits import set_limits
from inference import wire
from inference.models import InferenceJob
from inference.openai_api import answers
from inference.openai_api.embedding_shape import EmbeddingAnswer
from inference.openai_api.submission import Submitted
from inference.prompts import count_tokens
from inference.protocol import (
    DoneEvent,
    FinishReason,
    GenerationJob,
    Prompt,
    SamplingParams,
    Timings,
    Usage,
)
from inference.states import JobKind
from llamagpu.http.permissions import INFER
from tests.conftest import MODEL, Caller
from tests.inference.openai_api.test_calls import no_waiting, prompt_of
from tests.inference.openai_api.test_refusals import live_worker, refused

__all__ = ["live_worker", "no_waiting"]

URL = "/v1/embeddings"


def post(caller: Caller, **fields: Any) -> Any:
    return caller.post(URL, json.dumps({"model": MODEL, **fields}))


def texts_of(job: InferenceJob) -> list[Any]:
    return [prompt.text or prompt.token_ids for prompt in prompt_of(job).inputs]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a llama", ["a llama"]),
        (["a", "b"], ["a", "b"]),
        ([5, 6, 7], [(5, 6, 7)]),
        ([[5], [6, 7]], [(5,), (6, 7)]),
    ],
    ids=str,
)
def test_every_form_of_input_is_one_job(
    member: Caller, model: Any, value: Any, expected: list[Any]
) -> None:
    assert post(member, input=value, user="u1").status_code == 200
    (job,) = InferenceJob.objects.all()
    assert texts_of(job) == expected
    assert (job.kind, job.end_user, job.is_streamed) == (JobKind.EMBED, "u1", False)
    params = wire.from_builtins(SamplingParams, job.params)
    assert (params.max_tokens, params.n) == (0, 1)


def test_the_tokens_of_all_inputs_are_set_aside(member: Caller, model: Any) -> None:
    set_limits(actor=None, subject=f"user:{member.user.username}", daily_tokens=1000)
    assert post(member, input=["a llama", "in the Andes"]).status_code == 200
    (job,) = InferenceJob.objects.all()
    counted = [count_tokens(model, prompt) or 0 for prompt in prompt_of(job).inputs]
    assert job.prompt_tokens == sum(counted) == TokenReservation.objects.get().tokens


def test_a_quota_holds_for_inputs_too(member: Caller, model: Any) -> None:
    set_limits(actor=None, subject=f"user:{member.user.username}", daily_tokens=2)
    assert refused(post(member, input="a llama in the Andes"), 429)["code"] == "insufficient_quota"


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "input"),
    ({"input": None}, "input"),
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": ["a", ""]}, "input"),
    ({"input": ["a", 5]}, "input"),
    ({"input": [True]}, "input"),
    ({"input": [[]]}, "input"),
    ({"input": [[-1]]}, "input"),
    ({"input": [10**6]}, "input"),
    ({"input": {"text": "a"}}, "input"),
    ({"input": float("nan")}, "input"),
    ({"input": "a\ud800"}, "input"),
    ({"input": "a\u0000"}, "input"),
    ({"input": ["a"] * 257}, "input"),
    ({"input": ["a"] * 10_000}, "input"),
    ({"input": "a" * 200_001}, "input"),
    ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
    ({"input": "a", "encoding_format": 1}, "encoding_format"),
    ({"input": "a", "dimensions": 16}, "dimensions"),
    ({"input": "a", "dimensions": "16"}, "dimensions"),
    ({"input": "a", "user": 5}, "user"),
    ({"input": "a", "model": 5}, "model"),
    ({"input": "a", "stream": True}, "stream"),
    ({"input": "a", "max_tokens": 5}, "max_tokens"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[str(fields)[:40] for fields, _ in BAD])
def test_what_is_wrong_is_named(
    member: Caller, model: Any, fields: dict[str, Any], param: str
) -> None:
    error = refused(post(member, **fields), 400)
    assert error["param"].startswith(param)


def test_a_null_is_no_value(member: Caller, model: Any) -> None:
    fields = {"encoding_format": None, "dimensions": None, "user": None}
    assert post(member, input="a", **fields).status_code == 200


def test_who_may_not_infer_may_not_embed(guest: Caller, model: Any) -> None:
    assert refused(post(guest, input="a"), 403)["type"] == "permission_error"


def submitted() -> Submitted:
    job = GenerationJob("0", 1, "r", "m", Prompt(), SamplingParams(), 0.0, 60.0)
    return Submitted((job,), Holder(1, INFER))


def ended(*vectors: bytes) -> DoneEvent:
    return DoneEvent("", FinishReason.STOP, Usage(9), Timings(), "m", "cpu", embeddings=vectors)


VECTORS = (struct.pack("<3f", 0.5, -0.25, 1.0), struct.pack("<3f", 0.0, 1.0, 0.0))


def test_vectors_come_in_order_as_numbers_or_as_bytes() -> None:
    body = EmbeddingAnswer("m", is_base64=False).body(submitted(), [ended(*VECTORS)])
    assert body == {
        "object": "list",
        "model": "m",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -0.25, 1.0]},
            {"object": "embedding", "index": 1, "embedding": [0.0, 1.0, 0.0]},
        ],
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    }
    body = EmbeddingAnswer("m", is_base64=True).body(submitted(), [ended(*VECTORS)])
    found = [base64.b64decode(item["embedding"]) for item in body["data"]]
    assert found == list(VECTORS)


async def test_vectors_that_are_gone_are_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real `collect`

    async def only_the_end(submitted: Submitted) -> Any:
        yield (0, ended())

    monkeypatch.setattr(answers, "follow_all", only_the_end)
    request = RequestFactory().post(URL)
    request.received_at = 0.0  # type: ignore[attr-defined]
    response = await answers.collect(request, submitted(), EmbeddingAnswer("m", is_base64=False))
    assert response.status_code == 409
    assert json.loads(response.content)["error"]["code"] == "conflict"  # type: ignore[attr-defined]
