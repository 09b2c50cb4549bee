"""What people get who set nothing: answers at once, and the fast path as soon as it is prepared."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import MODEL
from tests.e2e.conftest import PARIS, Stack, wait_until
from tests.environment import MODEL_ROOT, PROJECT_ROOT
from tests.prepared_model import prepared_cache

QUICK = {"model": "quick", "text": "一丁七", "temperature": 0, "max_tokens": 40, "ignore_eos": True}
COLOURS = {"text": "Name three colours and say why.", "temperature": 0, "max_tokens": 40}
# In a process of its own: torch is not for this one. Says where the kernels' lock will be.
_WRITE = """
import sys
from pathlib import Path
from inference.engine.native.compiler import find_compiler, library_file
from tests.inference.engine.tiny_models import write_quick_model
write_quick_model(Path(sys.argv[1]))
print(library_file(Path(sys.argv[2]), find_compiler()).with_suffix(".lock"))
"""
# Where the built-in model is not prepared yet, the second start waits until it is.
pytestmark = pytest.mark.timeout(1800)


class Fresh:
    """A data directory in which nothing is prepared, and a model that is measured in a moment."""

    def __init__(self, folder: Path) -> None:
        self.data_dir, self.models = folder / "data", folder / "models"
        self.models.mkdir()
        (self.models / MODEL).symlink_to(MODEL_ROOT / MODEL)
        written = subprocess.run(
            [sys.executable, "-c", _WRITE, self.models / "quick", self.data_dir / "cache"],
            cwd=PROJECT_ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        lock = Path(written.stdout.strip())
        lock.parent.mkdir(parents=True, mode=0o700)
        self._lock = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def let_prepare(self) -> None:
        """Until now whoever prepares has waited for its turn to compile."""
        os.close(self._lock)

    @contextmanager
    def stack(self, default_model: str) -> Iterator[Stack]:
        running = Stack(self.data_dir, "auto", self.models, LLAMA_DEFAULT_MODEL=default_model)
        try:
            running.wait_ready()
            yield running
        finally:
            if running.process.poll() is None:
                running.stop()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    return Fresh(tmp_path_factory.mktemp("fresh"))


def level(stack: Stack, slug: str) -> int:
    """As the worker tells it, a moment after the engine is there."""

    def capabilities() -> dict[str, int] | None:
        response = httpx.get(f"{stack.url}/api/models/{slug}", headers=stack.headers, timeout=30)
        found: dict[str, int] | None = response.json()["model"]["capabilities"]
        return found

    return int(wait_until(capabilities, "the engine is told of")["optimization_level"])


def test_a_fresh_server_answers_at_once_and_gets_faster_while_it_serves(fresh: Fresh) -> None:
    with fresh.stack("quick") as stack:
        assert stack.infer(QUICK).status_code == 200
        assert level(stack, "quick") == 2
        fresh.let_prepare()
        answers = []

        def is_fast() -> bool:
            # Requests are under way all the time, so that the change happens beneath them.
            with ThreadPoolExecutor(4) as callers:
                answers.extend(callers.map(stack.infer, [QUICK] * 4))
            return level(stack, "quick") == 3

        wait_until(is_fast, "the fast path is prepared", 500)
        assert {response.status_code for response in answers} == {200}
        assert {response.json()["result"]["tokens_generated"] for response in answers} == {40}
        assert "Paris" in stack.text({**PARIS, "model": MODEL})
        assert level(stack, MODEL) == 2


def test_a_second_start_is_fast_and_callers_change_nothing_for_each_other(fresh: Fresh) -> None:
    packed = prepared_cache() / "packed"
    shutil.copytree(packed, fresh.data_dir / "cache" / "packed", dirs_exist_ok=True)
    with fresh.stack(MODEL) as stack:
        assert level(stack, MODEL) == 3
        alone = stack.text(COLOURS)
        with ThreadPoolExecutor(16) as pool:
            together = list(pool.map(lambda _: stack.text(COLOURS), range(16)))
        assert set(together) == {alone}
        assert stack.text(PARIS) == "The capital of France is Paris."
        assert stack.infer(QUICK).status_code == 200
        assert level(stack, "quick") == 3
