from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient

from accounts.models import UsageDay
from inference.models import InferenceJob
from inference.presence import WorkerReport, announce
from inference.protocol import (
    Choice,
    DoneEvent,
    ErrorEvent,
    FinishReason,
    GenerationJob,
    StreamEvent,
    Timings,
    TokenEvent,
    TokenLogprob,
    Usage,
)
from inference.services import batches, submission
from inference.services.attempts import message_for
from inference.services.settlement import settle_jobs, settlement_of
from inference.stream import JobKeys, append
from inference.stream_hub import hub_of_this_loop
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import Caller


@dataclass
class Answer:
    """What a caller got."""

    status: int
    headers: Any
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def is_replayed(self) -> bool:
        return self.headers.get("Idempotent-Replayed") == "true"


def send(caller: Caller, path: str, body: Any, key: str | None = "k1") -> Answer:
    """POST, read to the end, streamed or not."""

    async def run() -> Answer:
        headers = dict(caller.headers)
        if key is not None:
            headers["Idempotency-Key"] = key
        data = body if isinstance(body, bytes) else json.dumps(body)
        client = AsyncClient()
        try:
            response: Any = await client.post(
                path, data=data, content_type="application/json", headers=headers
            )
            if response.streaming:
                content = b"".join([part async for part in response.streaming_content])
            else:
                content = response.content
            return Answer(response.status_code, response.headers, content.decode())
        finally:
            await hub_of_this_loop().close()

    answer: Answer = async_to_sync(run)()
    return answer


class InstantWorker:
    """Answers a job while it is rung for. Each answer differs: whatever runs twice shows."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.rung: list[GenerationJob] = []
        self.error: ErrorCode | None = None
        self.is_idle = False

    def ring(self, job: GenerationJob, queue: str = "") -> None:
        self.rung.append(job)
        if not self.is_idle:
            self.end(job)

    def ring_many(self, job_ids: Sequence[str], queue: str = "", traceparent: str = "") -> None:
        for job_id in job_ids:
            row = InferenceJob.objects.select_related("model").get(pk=UUID(job_id))
            self.ring(message_for(row))

    def end(self, job: GenerationJob) -> None:
        events = self._events(job)
        end = events[-1]
        assert isinstance(end, DoneEvent | ErrorEvent)
        settle_jobs([settlement_of(job.job_id, 1, end)])
        pipeline = self._client.pipeline()
        for number, event in enumerate(events, start=1):
            append(pipeline, JobKeys(job.job_id), f"1-{number}", event, 60)
        pipeline.execute()

    def forget_streams(self) -> None:
        for job in self.rung:
            self._client.delete(JobKeys(job.job_id).events)

    def _events(self, job: GenerationJob) -> list[StreamEvent]:
        usage, timings = Usage(3, 2 * job.params.n, 1), Timings(0.1, 0.2, 0.3)
        if self.error is not None:
            return [ErrorEvent(self.error, "It went wrong.", usage)]
        number = self.rung.index(job)
        if job.prompt.inputs:
            vectors = tuple(struct.pack("<2f", number, place) for place in range(2))
            return [
                DoneEvent(
                    "", FinishReason.STOP, usage, timings, job.model, "cpu", embeddings=vectors
                )
            ]
        choices = tuple(self._choice(job, number, index) for index in range(job.params.n))
        tokens: list[StreamEvent] = [
            TokenEvent(text, position, choice.logprobs[position : position + 1]
                       if choice.logprobs else (), choice.index)
            for choice in choices
            for position, text in enumerate(_halves(choice.text))
        ]  # fmt: skip
        first = choices[0]
        return [
            *tokens,
            DoneEvent(
                first.text,
                first.finish_reason,
                usage,
                timings,
                job.model,
                "cpu",
                logprobs=first.logprobs,
                choices=choices if len(choices) > 1 else (),
            ),
        ]

    def _choice(self, job: GenerationJob, number: int, index: int) -> Choice:
        text = f"run {number} answer {index}"
        if job.params.grammar is not None:
            text = json.dumps({"run": number})
        logprobs = tuple(TokenLogprob(half, -0.5, ((half, -0.5),)) for half in _halves(text))
        wants = job.params.logprobs is not None
        return Choice(index, text, FinishReason.STOP, logprobs if wants else None)


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


@pytest.fixture
def worker(
    transactional_db: None,
    django_db_serialized_rollback: None,
    redis_client: Any,
    model: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> InstantWorker:
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8))
    instant = InstantWorker(redis_client)
    monkeypatch.setattr(submission, "ring", instant.ring)
    monkeypatch.setattr(batches, "ring_many", instant.ring_many)
    return instant


Spent = Callable[[], int]


@pytest.fixture
def spent(member: Caller) -> Spent:
    """Tokens that the member was billed for so far."""

    def count() -> int:
        days = UsageDay.objects.filter(user_id=member.user.pk)
        return sum(day.prompt_tokens + day.completion_tokens for day in days)

    return count
