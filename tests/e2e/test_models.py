"""Two models on one server, loaded and unloaded while it serves. Its database is PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import MODEL
from tests.e2e.conftest import PARIS, Stack, read_sse, wait_until
from tests.environment import MODEL_ROOT, PROJECT_ROOT
from tests.postgres import running_server

TINY = {"model": "tiny", "text": "一丁七", "temperature": 0, "max_tokens": 8, "ignore_eos": True}
_WRITE = (
    "import sys; from pathlib import Path; from tests.inference.engine.tiny_models import write_model;"
    "write_model(Path(sys.argv[1]))"
)


@pytest.fixture(scope="module")
def two() -> Iterator[Stack]:
    """The built-in model and a random one of a few thousand weights."""
    with tempfile.TemporaryDirectory(prefix="llamagpu-e2e-") as folder, running_server() as server:
        root = Path(folder) / "models"
        root.mkdir()
        (root / MODEL).symlink_to(MODEL_ROOT / MODEL)
        subprocess.run(
            [sys.executable, "-c", _WRITE, str(root / "tiny")],
            cwd=PROJECT_ROOT,
            check=True,
            capture_output=True,
        )
        database = server.url.replace("/llamagpu", "/postgres")
        running = Stack(Path(folder) / "data", model_root=root, DATABASE_URL=database)
        try:
            running.wait_ready()
            yield running
        finally:
            if running.process.poll() is None:
                running.stop()


def call(stack: Stack, method: str, path: str, body: Any = None) -> httpx.Response:
    return httpx.request(
        method, f"{stack.url}/api/models/{path}", json=body, headers=stack.headers, timeout=120
    )


def engine_of(stack: Stack, slug: str) -> dict[str, Any] | None:
    engines = [engine for worker in stack.status()["workers"] for engine in worker["engines"]]
    return next((engine for engine in engines if engine["model"] == slug), None)


def load(stack: Stack, body: dict[str, Any]) -> dict[str, Any]:
    response = call(stack, "POST", "tiny/load", body)
    assert response.status_code in (200, 202), response.text
    address = response.json()["progress_url"]

    def is_ready() -> bool:
        progress = httpx.get(f"{stack.url}{address}", headers=stack.headers, timeout=30).json()
        assert progress["progress"]["state"] in ("loading", "unloading", "ready"), progress
        return bool(progress["progress"]["state"] == "ready")

    wait_until(is_ready, "the model is loaded", 180)
    engine = engine_of(stack, "tiny")
    assert engine is not None
    return engine


def test_a_model_comes_goes_and_comes_again_beside_another(two: Stack) -> None:
    other = engine_of(two, MODEL)
    assert other is not None
    engine = load(two, {})
    text = two.text(TINY)
    body = call(two, "POST", "tiny/unload").json()
    assert (body["state"], body["desired_state"]) == ("available", "unloaded")
    assert body["freed_memory"] > 50_000_000
    assert not psutil.pid_exists(engine["pid"])
    assert engine_of(two, "tiny") is None
    assert two.text(TINY) == text  # loaded again at need
    still = engine_of(two, MODEL)
    assert still is not None
    assert (still["pid"], still["restarts"]) == (other["pid"], 0)
    assert "Paris" in two.text(PARIS)


def test_what_runs_may_end_before_the_process_does(two: Stack) -> None:
    two.text(TINY)
    engine = engine_of(two, "tiny")
    assert engine is not None
    events: list[dict[str, Any]] = []
    with httpx.stream(
        "POST",
        f"{two.url}/api/stream_infer",
        json={**TINY, "max_tokens": 480},
        headers=two.headers,
        timeout=120,
    ) as response:
        for event in read_sse(response.iter_lines()):
            events.append(event)
            if len(events) == 2:
                unloaded = call(two, "DELETE", "tiny/unload").json()
    assert "restart" not in [event["event"] for event in events]
    assert events[-1]["usage"]["completion_tokens"] == 480
    assert unloaded["freed_memory"] > 0
    assert not psutil.pid_exists(engine["pid"])


def test_other_options_replace_the_engine_and_one_without_use_goes(two: Stack) -> None:
    first = load(two, {"optimization_level": 2})
    assert first["capabilities"]["optimization_level"] == 2
    second = load(two, {"optimization_level": 1})
    assert second["capabilities"]["optimization_level"] == 1
    assert second["pid"] != first["pid"]
    assert not psutil.pid_exists(first["pid"])
    assert load(two, {"optimization_level": 1})["pid"] == second["pid"]
    call(two, "PATCH", "tiny", {"keep_alive": 1})
    wait_until(lambda: engine_of(two, "tiny") is None, "it is unloaded")
    assert not psutil.pid_exists(second["pid"])
    model = call(two, "PATCH", "tiny", {"keep_alive": None}).json()["model"]
    assert (model["desired_state"], model["keep_alive"]) == ("automatic", None)


def test_the_commands_do_the_same(two: Stack) -> None:
    assert two.manage("load", "tiny").splitlines()[-1] == "tiny is ready"
    assert "tiny" in [engine["model"] for engine in json.loads(two.manage("ps", "--json"))]
    assert two.manage("stop", "tiny").startswith("tiny is unloaded (")
    assert engine_of(two, "tiny") is None


def test_the_server_stays_ready_when_its_default_model_is_unloaded(two: Stack) -> None:
    assert call(two, "POST", f"{MODEL}/unload").json()["freed_memory"] > 100_000_000
    assert two.probe() == 200
    assert "Paris" in two.text(PARIS)
