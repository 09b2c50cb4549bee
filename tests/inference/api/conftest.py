from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import ApiKey
from inference import wire
from inference.models import InferenceJob
from inference.presence import WorkerReport, announce
from inference.protocol import Grammar, GrammarKind, Prompt, SamplingParams
from tests.conftest import Caller

MakeJob = Callable[..., InferenceJob]
#: Stands in every field of a job that holds somebody's words.
SECRET = "a llama's secret"


@pytest.fixture
def make_job(db: None, redis_client: Any, model: Any) -> MakeJob:
    """A job's row, `make_job(member, state="failed")`, full of words that are its owner's."""
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8))

    def make(caller: Caller, **fields: Any) -> InferenceJob:
        now = timezone.now()
        params = SamplingParams(
            max_tokens=7, stop=(SECRET,), grammar=Grammar(GrammarKind.REGEX, SECRET)
        )
        values: dict[str, Any] = {
            "owner": caller.user,
            "api_key": ApiKey.objects.filter(user=caller.user).first(),
            "model": model,
            "request_id": "req_1",
            "prompt": wire.to_builtins(Prompt(text=SECRET)),
            "params": wire.to_builtins(params),
            "output": SECRET,
            "answer": {"choices": [{"index": 0, "text": SECRET}]},
            "content_digests": {"prompt": "digest", "output": "digest"},
            "created_at": now,
            "deadline_at": now + timedelta(seconds=60),
        }
        row: InferenceJob = InferenceJob.objects.create(**(values | fields))
        return row

    return make
