"""What authentication, limits and quotas cost a request, on a database and a Valkey of their own.

Each figure is a series of calls in this process: no network, no other process, caches warm. Series
that are compared take turns, so that a busy moment meets both.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, connections, transaction
from django.http import HttpRequest, HttpResponseBase
from django.test import RequestFactory
from django.test.utils import override_settings
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.job_claims import JobClaim
from accounts.models import TokenReservation, User
from accounts.services import quotas
from accounts.services.api_keys import create_api_key
from accounts.services.limits import set_limits
from accounts.services.users import create_user
from inference import wire
from inference.models import InferenceJob, Model
from inference.protocol import DoneEvent, FinishReason, Prompt, SamplingParams, Timings, Usage
from inference.services.settlement import settle_jobs, settlement_of
from llamagpu.http.permissions import Public, SignedIn
from llamagpu.http.request_context import request_context_middleware
from llamagpu.lib.percentiles import percentiles
from llamagpu.lib.redis_client import sync_client
from llamagpu.supervisor.valkey import EmbeddedValkey, find_server

_START_TIMEOUT = 30.0
_PASSWORD = "measured, not kept"  # noqa: S105  of a user in a database that is dropped


@dataclass(frozen=True, slots=True)
class Figure:
    """Milliseconds of one call, over `count` calls."""

    name: str
    count: int
    median: float
    p95: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class OpenView(APIView):
    """Asks nobody anything."""

    access = Public("A benchmark calls it, no address leads here.")
    authentication_classes = []
    permission_classes = []
    throttle_classes = []

    def get(self, request: Request) -> Response:
        return Response({"success": True})


class GuardedView(APIView):
    """The same behind key, rights and rate, as every view of the API."""

    access = SignedIn()

    def get(self, request: Request) -> Response:
        return Response({"success": True})


@contextmanager
def own_servers() -> Iterator[None]:
    """A new database and a new Valkey, in the place of the installation's own."""
    with tempfile.TemporaryDirectory(prefix="llamagpu-access-") as folder:
        server = EmbeddedValkey(Path(folder), Path(folder) / "valkey.sock", find_server())
        server.prepare()
        process = subprocess.Popen(server.spec.command, stdout=subprocess.DEVNULL)
        url = f"unix://{folder}/valkey.sock"
        caches = {name: {**cache, "LOCATION": url} for name, cache in settings.CACHES.items()}
        database = connection.settings_dict["NAME"]
        try:
            _wait_for(server)
            with override_settings(REDIS_URL=url, CACHES=caches):
                connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
                try:
                    yield
                finally:
                    connection.creation.destroy_test_db(database, verbosity=0)
        finally:
            sync_client(url).close()
            process.terminate()
            process.wait()


def measure_access(calls: int) -> list[Figure]:
    """The cost of key, rights and rate for a request, and of quotas for a job."""
    user = create_user(actor=None, username="measured", password=_PASSWORD, role="user")
    key, text = create_api_key(actor=None, user=user, name="measured")
    unlimited = {f"{group}_per_minute": 10**12 for group in ("inference", "system")}
    set_limits(actor=None, subject="role:user", **unlimited)
    headers = {"Authorization": f"Bearer {text}"}
    figures = _take_turns(
        calls,
        {
            "request, open view": _requests(OpenView, headers),
            "request, key and limits": _requests(GuardedView, headers),
        },
    )
    figures += _take_turns(
        calls,
        {
            "request on a new database connection, open view": _requests(OpenView, headers),
            "request on a new database connection, key and limits": _requests(GuardedView, headers),
        },
        after=connections.close_all,
    )
    set_limits(actor=None, subject=f"key:{key.prefix}", system_per_minute=10**12)
    figures += _take_turns(
        calls, {"request, key with a rate of its own": _requests(GuardedView, headers)}
    )
    return figures + _measure_jobs(calls, user, key)


def _measure_jobs(calls: int, user: User, key: Any) -> list[Figure]:
    user = User.objects.select_related("role").get(pk=user.pk)
    model = Model.objects.create(
        slug="measured", source="path:measured", path="measured", architecture="none",
        stored_dtype="float32", num_parameters=0, weight_bytes=0, context_length=1, vocab_size=1,
    )  # fmt: skip
    jobs = _Jobs(user, key, model)
    figures = _take_turns(calls, {"job, row alone": jobs.write_row, "job, no quota": jobs.admit})
    jobs.forget()
    figures += _take_turns(calls, {"settling a job, bill included": jobs.settle}, before=jobs.admit)
    for subject, pool in (("user:measured", {}), ("role:user", {"pool_daily_tokens": 10**14})):
        limits = {"daily_tokens": 10**14, "monthly_tokens": 10**14, "concurrent_jobs": 10**9}
        set_limits(actor=None, subject=subject, tokens_per_minute=10**14, **limits, **pool)
    set_limits(actor=None, subject="model:measured", daily_tokens=10**14)
    set_limits(actor=None, subject=f"key:{key.prefix}", daily_tokens=10**14)
    return figures + _take_turns(calls, {"job, every quota": jobs.admit}, after=jobs.settle)


class _Jobs:
    """Job rows as `submit_job` writes them, without the bell."""

    def __init__(self, user: User, key: Any, model: Model) -> None:
        self._user, self._key, self._model = user, key, model
        self._open: list[uuid.UUID] = []

    def write_row(self) -> None:
        self._write(uuid.uuid4())

    def admit(self) -> None:
        claim = JobClaim(uuid.uuid4(), self._user, self._key, self._model.slug, 120)
        quotas.reserve_minute(claim)
        with transaction.atomic():
            quotas.reserve(claim)
            self._write(claim.job_id)
        self._open.append(claim.job_id)

    def forget(self) -> None:
        """Leave no more reservations than a server has jobs."""
        TokenReservation.objects.filter(pk__in=self._open).delete()
        self._open.clear()

    def settle(self) -> None:
        done = DoneEvent("text", FinishReason.STOP, Usage(20, 50), Timings(), "measured", "cpu")
        settle_jobs([settlement_of(str(self._open.pop()), 1, done)])

    def _write(self, job_id: uuid.UUID) -> None:
        InferenceJob.objects.create(
            id=job_id,
            owner=self._user,
            api_key=self._key,
            model=self._model,
            request_id="req_measured",
            prompt=wire.to_builtins(Prompt(text="What is the capital of France?")),
            params=wire.to_builtins(SamplingParams()),
            deadline_at=timezone.now() + timedelta(minutes=5),
        )


def _requests(view: type[APIView], headers: dict[str, str]) -> Callable[[], None]:
    factory, handler = RequestFactory(), view.as_view()

    def render(request: HttpRequest) -> HttpResponseBase:
        response = handler(request)
        response.render()
        return response

    serve = request_context_middleware(render)

    def call() -> None:
        response: Any = serve(factory.get("/measured", headers=headers))
        if response.status_code != 200:
            raise RuntimeError(f"the measured request got {response.status_code}")

    return call


def _take_turns(
    calls: int,
    series: dict[str, Callable[[], None]],
    *,
    before: Callable[[], None] | None = None,
    after: Callable[[], None] | None = None,
) -> list[Figure]:
    """`before` and `after` run around each call, off the clock. A tenth of the calls warms up."""
    taken: dict[str, list[float]] = {name: [] for name in series}
    for number in range(calls + calls // 10):
        for name, act in series.items():
            if before:
                before()
            started = time.perf_counter()
            act()
            elapsed = time.perf_counter() - started
            if after:
                after()
            if number >= calls // 10:
                taken[name].append(elapsed * 1000)
    return [_figure(name, values) for name, values in taken.items()]


def _figure(name: str, values: Sequence[float]) -> Figure:
    found = percentiles(values)
    return Figure(name, len(values), float(found["p50"] or 0.0), float(found["p95"] or 0.0))


def _wait_for(server: EmbeddedValkey) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while obstacle := server.obstacle():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the Valkey of the benchmark does not start: {obstacle}")
        time.sleep(0.02)
