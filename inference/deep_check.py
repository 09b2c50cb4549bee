"""The deep check: one token of the default model, through all seven stages, within a time limit.

It is a job of the caller like any other: it stands among the caller's jobs and counts against the limits.
Several callers at the same moment share one, so that no number of them takes many threads.
"""

from __future__ import annotations

import threading
import time

import redis
from django.conf import settings
from rest_framework.request import Request

from inference.admission import admit
from inference.models import Model
from inference.prompts import check_fits, context_length
from inference.protocol import ErrorEvent, Prompt, SamplingParams
from inference.services.cancellation import cancel_left_job
from inference.services.submission import JobCall, PromptTokens, submit_job
from inference.stream import JobKeys, is_terminal, placed_events
from llamagpu.http.database import release_connections
from llamagpu.http.errors import AppError, request_id_of
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import sync_client
from monitoring.configuration import current
from monitoring.health import ProbeResult, register_deep_check

#: Seconds within which the token must be there, loading of the model included.
TIME_LIMIT = 20.0
#: Seconds for which an answer holds for everybody: asking often costs no more than this.
LIFETIME = 5.0
_PROMPT = Prompt(text="Say OK.")
_BLOCK_MS = 1000

_asking = threading.Lock()
_last: tuple[float, ProbeResult] | None = None


def register() -> None:
    register_deep_check(check)


def check(request: Request) -> ProbeResult:
    """What goes wrong is the finding. Raises AppError where the caller's own limits forbid it."""
    global _last
    if not _asking.acquire(blocking=False):
        return _last[1] if _last else ProbeResult("deep", False, "another check is running", 0.0)
    try:
        if _last is None or time.monotonic() - _last[0] >= LIFETIME:
            found = _measure(request)
            _last = (time.monotonic(), found)
        return _last[1]
    finally:
        _asking.release()


def _measure(request: Request) -> ProbeResult:
    started = time.perf_counter()
    try:
        detail, healthy = _generate(request), True
    except AppError as error:
        if error.code in (ErrorCode.RATE_LIMIT_EXCEEDED, ErrorCode.QUOTA_EXCEEDED):
            raise
        detail, healthy = f"{error.code}: {error.message}", False
    except redis.RedisError:
        detail, healthy = "Redis does not answer", False
    return ProbeResult("deep", healthy, detail, round(time.perf_counter() - started, 4))


def _generate(request: Request) -> str:
    """What came of it. Raises AppError and RedisError."""
    slug = current().default_model
    engines = [engine for worker in admit() for engine in worker.engines]
    model = Model.objects.available().filter(slug=slug).first()
    if model is None:
        raise AppError(ErrorCode.MODEL_NOT_FOUND, f"'{slug}' is not among the models.")
    counted = check_fits(model, _PROMPT, 1, context_length(model, engines)) or 0
    job = submit_job(
        JobCall(
            owner=request.user,
            api_key=request.auth,
            model=model,
            prompt=_PROMPT,
            params=SamplingParams(max_tokens=1, temperature=0.0),
            timeout=TIME_LIMIT,
            request_id=request_id_of(request),
            prompt_tokens=PromptTokens(counted, counted or 64),
        )
    )
    release_connections()
    return _await_end(job.job_id, slug)


def _await_end(job_id: str, slug: str) -> str:
    client, key, after = sync_client(settings.REDIS_URL), JobKeys(job_id).events, "0-0"
    deadline = time.monotonic() + TIME_LIMIT
    while time.monotonic() < deadline:
        for _, entries in client.xread({key: after}, block=_BLOCK_MS) or ():
            after = entries[-1][0]
            for _, event in placed_events(entries):
                if isinstance(event, ErrorEvent):
                    raise AppError(event.code, event.message)
                if is_terminal(event):
                    return f"'{slug}' has generated a token"
    cancel_left_job(job_id, "The deep check has waited long enough.")
    raise AppError(ErrorCode.DEADLINE_EXCEEDED, f"No token within {TIME_LIMIT:.0f} s.")
