"""X-LlamaGPU-Overhead-Ms where the answer begins before the engine has ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference.presence import WorkerReport, announce
from tests.conftest import Caller

PATHS = {
    "/api/stream_infer": {"text": "hi", "max_tokens": 5},
    "/api/batch_infer": {"inputs": ["hi"], "max_tokens": 5, "async": True},
}


@pytest.mark.parametrize("path", PATHS)
def test_it_is_the_time_until_the_jobs_are_queued(
    member: Caller, model: Any, redis_client: Any, path: str
) -> None:
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8))
    response = member.post(path, json.dumps(PATHS[path]))
    assert response.status_code in (200, 202)
    assert 0 < float(response["X-LlamaGPU-Overhead-Ms"]) < 600_000


@pytest.mark.parametrize("path", PATHS)
def test_a_refusal_has_none(member: Caller, model: Any, redis_client: Any, path: str) -> None:
    response = member.post(path, json.dumps({**PATHS[path], "temperature": 3}))
    assert response.status_code == 400
    assert "X-LlamaGPU-Overhead-Ms" not in response
