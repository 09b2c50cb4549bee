"""Two workers on one queue: replicas, the least busy one, and one that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Stack, wait_until
from tests.environment import PROJECT_ROOT

ASK = {"text": "一丁七", "temperature": 0, "max_tokens": 100, "ignore_eos": True}
SECOND = "worker-two"
_WRITE = (
    "import sys; from pathlib import Path; from tests.inference.engine.tiny_models import write_model;"
    "write_model(Path(sys.argv[1]))"
)


def start_worker(stack: Stack) -> subprocess.Popen[bytes]:
    """As on a second machine, which would name the same database and Redis."""
    celery = [sys.executable, "-m", "celery", "--quiet", "-A", "llamagpu", "worker"]
    options = ["--pool", "threads", "--queues", "inference", "--hostname", f"{SECOND}@%h"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return subprocess.Popen(
        [*celery, *options, *quiet],
        cwd=PROJECT_ROOT,
        env=stack.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def pair() -> Iterator[Stack]:
    """A stack of a model of a few thousand weights, and a worker besides its own."""
    with tempfile.TemporaryDirectory(prefix="llamagpu-e2e-") as folder:
        root = Path(folder) / "models"
        root.mkdir()
        command = [sys.executable, "-c", _WRITE, str(root / "tiny")]
        subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True)
        running = Stack(Path(folder) / "data", model_root=root, LLAMA_DEFAULT_MODEL="tiny")
        second = None
        try:
            running.wait_ready()
            second = start_worker(running)
            wait_until(lambda: len(running.status()["workers"]) == 2, "both are there", 120)
            yield running
        finally:
            if second is not None and second.poll() is None:
                second.terminate()
                second.wait(60)
            running.stop()


def holders(stack: Stack) -> set[str]:
    """The workers with an engine that is ready."""
    return {
        worker["name"].partition("@")[0]
        for worker in stack.status()["workers"]
        if any(engine["state"] == "ready" for engine in worker["engines"])
    }


def place(stack: Stack, replicas: int, expected: int) -> set[str]:
    """Ask for so many replicas; who holds the model once there are `expected`."""
    response = httpx.patch(
        f"{stack.url}/api/models/tiny",
        json={"replicas": replicas},
        headers=stack.headers,
        timeout=60,
    )
    assert response.status_code == 200, response.text
    wait_until(lambda: len(holders(stack)) == expected, f"{expected} hold it", 120)
    return holders(stack)


def who_answered(stack: Stack, number: int) -> Counter[str]:
    """Many calls at once: how many of them each worker has served, all with the same answer."""
    with ThreadPoolExecutor(number) as threads:
        answers: list[dict[str, Any]] = [
            response.json() for response in threads.map(stack.infer, [ASK] * number)
        ]
    assert len({answer["result"]["generated_text"] for answer in answers}) == 1
    ids = {answer["metadata"]["job_id"] for answer in answers}
    page = httpx.get(f"{stack.url}/api/jobs?limit=200", headers=stack.headers, timeout=30).json()
    found = [job for job in page["results"] if job["job_id"] in ids]
    assert len(found) == number
    return Counter(job["worker"].partition("@")[0] for job in found)


def test_work_is_shared_moves_with_the_replicas_and_outlives_a_worker(pair: Stack) -> None:
    first = f"worker-{pair.port}"
    assert place(pair, 2, expected=2) == {first, SECOND}
    shares = who_answered(pair, 16)
    assert set(shares) == {first, SECOND}
    assert min(shares.values()) >= 4, shares

    (holder,) = place(pair, 1, expected=1)
    assert who_answered(pair, 6) == {holder: 6}

    place(pair, 2, expected=2)
    doomed = next(w for w in pair.status()["workers"] if w["name"].startswith(SECOND))
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(pair.infer, {**ASK, "max_tokens": 400}) for _ in range(8)]
        os.killpg(doomed["pid"], signal.SIGKILL)
        answers = [call.result() for call in calls]
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json()["result"]["generated_text"] for answer in answers}) == 1
    wait_until(lambda: len(pair.status()["workers"]) == 1, "the dead one is forgotten", 60)
    assert who_answered(pair, 4) == {first: 4}
