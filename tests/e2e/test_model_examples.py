"""The examples about models do what their pages say, and `manage.py run` talks to a model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MODEL
from tests.e2e.conftest import Stack
from tests.e2e.page_examples import Example, examples_of, run_example
from tests.environment import MODEL_ROOT, PROJECT_ROOT
from tests.inference.pulling.hub_server import COMMIT, REPOSITORY, Hub, files_of, serve

EXAMPLES = [item for item in examples_of("api.md") if item.title.startswith("Models: ")]
_WRITE = (
    "import sys; from pathlib import Path; from tests.inference.engine.tiny_models import write_model;"
    "write_model(Path(sys.argv[1]))"
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """With a model of a few thousand weights."""
    folder = tmp_path_factory.mktemp("hub")
    command = [sys.executable, "-c", _WRITE, str(folder)]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True)
    found = Hub(files_of(folder))
    server = serve(found)
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory, hub: Hub) -> Iterator[Stack]:
    root = tmp_path_factory.mktemp("models")
    (root / MODEL).symlink_to(MODEL_ROOT / MODEL)
    (root / "team").mkdir()
    shutil.copytree(MODEL_ROOT / MODEL, root / "my-model")
    data = tmp_path_factory.mktemp("data")
    stack = Stack(data, model_root=root, LLAMA_HUB_ENDPOINT=hub.url)
    try:
        stack.wait_ready()
        yield stack
    finally:
        stack.stop()


def run(stack: Stack, *command: str) -> subprocess.CompletedProcess[str]:
    key = stack.headers["Authorization"].removeprefix("Bearer ")
    return subprocess.run(
        command,
        cwd=PROJECT_ROOT,
        env={**os.environ, **stack.environment, "KEY": key},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_a_model_answers_in_the_terminal(own_stack: Stack) -> None:
    words = (MODEL, "What is the capital of France?", "--temperature", "0", "--max-tokens", "20")
    done = run(own_stack, sys.executable, "manage.py", "run", *words)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout


def test_the_way_from_a_folder_to_its_end(own_stack: Stack, tmp_path: Path) -> None:
    (example,) = examples_of("models.md")[:1]
    # The folder that `serve` has found at its start is registered by hand in the example.
    forget(own_stack, "my-model", "--keep-files")
    last = run_example(own_stack, example, tmp_path).strip().splitlines()[-1]
    assert '"state":"removed"' in last.replace(" ", "")
    assert Path(own_stack.environment["LLAMA_MODEL_PATH"], "my-model", "config.json").is_file()


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_of_the_api_does_what_it_says(
    own_stack: Stack, example: Example, tmp_path: Path
) -> None:
    forget(own_stack, "my-model", "--keep-files")
    said = run_example(own_stack, example, tmp_path, **{"org/name": REPOSITORY})
    assert COMMIT in said if "hub" in example.title else "my-model" in said
    forget(own_stack, "fetched")


def forget(stack: Stack, name: str, *options: str) -> None:
    """Whether or not it is there."""
    run(stack, sys.executable, "manage.py", "rm", name, *options)
