"""`/metrics`: what every process has counted, in Prometheus's words, for those who may see it."""

from __future__ import annotations

import http.client
import math
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text

from llamagpu.lib.version import VERSION
from monitoring.metrics import Counter, Gauge, Histogram, Registry
from monitoring.metrics.flusher import Flusher
from monitoring.metrics.scrape_server import serve_metrics
from tests.conftest import Caller, make_caller

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


@pytest.fixture
def counted(redis_client: Any) -> Iterator[Registry]:
    """Two processes that have counted something."""
    for amount in (2, 3):
        registry = Registry()
        calls = Counter("calls_total", "Calls\nby door.", ("door",), registry=registry)
        Counter("restarts_total", "Restarts.", registry=registry)
        running = Gauge("running", "Running.", ("model_name",), registry=registry)
        seconds = Histogram("seconds", "Seconds.", ("model_name",), (0.5, 1.0), registry=registry)
        calls.inc(amount, door='a "door"\\')
        running.set(amount, model_name="tiny")
        for value in (0.1, 0.7, 5.0):
            seconds.observe(value * amount, model_name="tiny")
        assert Flusher(redis_client, "web", registry).flush()
    yield registry


def samples(
    body: str, read: Any = read_text
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in read(body)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("accept", "read", "form"),
    [
        ("", read_text, "text/plain; version=0.0.4"),
        ("text/html", read_text, "text/plain; version=0.0.4"),
        (OPENMETRICS, read_openmetrics, "application/openmetrics-text; version=1.0.0"),
    ],
)
def test_all_processes_are_merged_in_either_form(
    counted: Registry, guest: Caller, accept: str, read: Any, form: str
) -> None:
    answer = Client().get("/metrics", headers={**guest.headers, "Accept": accept})
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith(form)
    found = samples(answer.content.decode(), read)
    tiny = ("model_name", "tiny")
    assert found["llamagpu_calls_total", (("door", 'a "door"\\'),)] == 5
    assert found["llamagpu_restarts_total", ()] == 0
    assert found["llamagpu_running", (tiny,)] == 5
    assert found["llamagpu_seconds_bucket", (("le", "0.5"), tiny)] == 2
    assert found["llamagpu_seconds_bucket", (("le", "1.0"), tiny)] == 2
    assert found["llamagpu_seconds_bucket", (("le", "+Inf"), tiny)] == 6
    assert found["llamagpu_seconds_count", (tiny,)] == 6
    assert math.isclose(found["llamagpu_seconds_sum", (tiny,)], 5.8 * 5)
    assert found["llamagpu_processes", (("role", "web"),)] == 2
    assert found["llamagpu_build_info", (("version", VERSION),)] == 1
    assert found["llamagpu_redis_up", ()] == 1
    assert found["process_resident_memory_bytes", ()] > 0


def test_a_scraper_needs_no_more_than_its_scope(redis_client: Any, db: None) -> None:
    scraper = make_caller("guest", scopes=("metrics",))
    other = make_caller("user", scopes=("infer",))
    assert scraper.get("/metrics").status_code == 200
    assert other.get("/metrics").status_code == 403
    stranger = Client().get("/metrics")
    assert stranger.status_code == 401
    assert stranger.json()["error"]["code"] == "AUTHENTICATION_FAILED"


def test_without_redis_it_says_so(guest: Caller, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1"
    settings.LLAMA_LIMITS_WITHOUT_REDIS = "open"
    found = samples(guest.get("/metrics").content.decode())
    assert found["llamagpu_redis_up", ()] == 0
    assert found["process_resident_memory_bytes", ()] > 0


def test_an_address_of_its_own_needs_no_credentials(counted: Registry) -> None:
    server = serve_metrics(("127.0.0.1", 0))
    assert server is not None
    try:
        host, port = server.server_address[:2]
        connection = http.client.HTTPConnection(str(host), int(port), timeout=10)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        found = samples(answer.read().decode())
        assert (answer.status, found["llamagpu_running", (("model_name", "tiny"),)]) == (200, 5)
        connection.close()
        connection.request("GET", "/api/models")
        assert connection.getresponse().status == 404
        connection.close()
        assert serve_metrics((str(host), int(port))) is None  # taken
    finally:
        server.shutdown()
        server.server_close()
