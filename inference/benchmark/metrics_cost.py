"""What metrics cost: a request, the flush of a busy second, a scrape.

Each figure is a series of calls in this process, against a Valkey of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.test import RequestFactory
from django.urls import resolve

from accounts import metrics as account_metrics
from inference import metrics
from inference.job_metrics import count_end
from inference.protocol import GenerationJob, Prompt, SamplingParams, Usage
from inference.services.settlement import Course, Settlement
from inference.states import JobState
from inference.worker.job_meter import JobMeter
from llamagpu.lib.percentiles import percentiles
from llamagpu.lib.redis_client import sync_client
from monitoring import http_metrics
from monitoring.metrics import REGISTRY, Registry
from monitoring.metrics.exposition import expose
from monitoring.metrics.flusher import Flusher
from monitoring.metrics.reading import snapshot

_MODELS = tuple(f"model-{number}" for number in range(5))
_TOKENS = 64
_REQUESTS_A_SECOND = 100
#: What one request may cost in all processes together, in microseconds.
TARGET = 200.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of a core that one call takes, over `count` calls: others keep this machine busy too."""

    name: str
    count: int
    median: float
    p95: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_metrics(calls: int) -> list[Cost]:
    """To be run inside `own_servers`."""
    flusher = Flusher(sync_client(settings.REDIS_URL), "benchmark", _families())
    request, response = _request(), JsonResponse({})
    rare = max(10, calls // 40)

    def busy_second() -> None:
        _count_busy_second(request, response)

    return [
        _series("one counter", calls, lambda: metrics.CONSUMED.inc(task="inference.generate")),
        _series("one histogram", calls, lambda: metrics.LATENCY.observe(0.12, model_name="a")),
        _series("a request in the web process", calls, lambda: _web_part(request, response)),
        _series(
            f"its job in the worker, {_TOKENS} tokens", calls, lambda: _worker_part(_MODELS[0])
        ),
        _series(
            f"the flush of {_REQUESTS_A_SECOND} such requests, {len(_MODELS)} models",
            rare,
            flusher.flush,
            before=busy_second,
        ),
        _series("reading everything", rare, lambda: snapshot(max_age=0)),
        _series("a scrape of /metrics", rare, lambda: expose("")),
    ]


def busy_portal() -> Callable[[], None]:
    """Counts a busy second and sends it, as the processes of a portal do. Inside `own_servers`."""
    flusher = Flusher(sync_client(settings.REDIS_URL), "benchmark", _families())
    request, response = _request(), JsonResponse({})

    def work() -> None:
        _count_busy_second(request, response)
        flusher.flush()

    return work


def _families() -> Registry:
    """Without the sources, which look at queues and databases."""
    families = Registry()
    for family in REGISTRY.families():
        families.add(family)
    return families


def _count_busy_second(request: HttpRequest, response: JsonResponse) -> None:
    for number in range(_REQUESTS_A_SECOND):
        _web_part(request, response)
        _worker_part(_MODELS[number % len(_MODELS)])


def _request() -> HttpRequest:
    request = RequestFactory().post("/api/infer")
    request.resolver_match = resolve("/api/infer")
    return request


def _web_part(request: HttpRequest, response: JsonResponse) -> None:
    http_metrics.note_answer(request, response, 0.05)
    account_metrics.note_answer(request, response, 0.05)
    metrics.OVERHEAD.observe(0.004, door="api")
    metrics.PUBLISHED.inc(task="inference.generate")
    metrics.STREAM_READERS.inc()
    metrics.STREAM_READERS.dec()


def _worker_part(model: str) -> None:
    metrics.CONSUMED.inc(task="inference.generate")
    now = time.time()
    job = GenerationJob(
        job_id=str(uuid4()),
        attempt=1,
        request_id="req",
        model=model,
        prompt=Prompt(text="Hello"),
        params=SamplingParams(),
        created_unix=now,
        deadline_unix=now + 60,
        tenant="1",
    )
    meter = JobMeter(job)
    meter.begin_attempt()
    meter.note_prompt(20)
    for _ in range(_TOKENS):
        meter.note_tokens(0, 1)
    usage = Usage(20, _TOKENS)
    meter.end_attempt(usage)
    course = Course(queue_time=0.01, ttft=0.05, inference_time=1.2, load_time=0.0, engine_wait=0.0)
    end = Settlement(
        job_id=job.job_id,
        attempt=1,
        state=JobState.SUCCEEDED,
        finished_at=datetime.now(tz=UTC),
        usage=usage,
        course=course,
        finish_reason="stop",
    )
    count_end(end, model, 1.3)


def _series(
    name: str, calls: int, call: Callable[[], Any], before: Callable[[], Any] | None = None
) -> Cost:
    taken = []
    for number in range(calls + 1):
        if before is not None:
            before()
        began = time.thread_time()
        call()
        if number:  # the first one makes series, connections and prepared answers
            taken.append((time.thread_time() - began) * 1e6)
    found = percentiles(taken)
    return Cost(name, len(taken), found["p50"] or 0.0, found["p95"] or 0.0)
