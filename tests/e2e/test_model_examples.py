"""The examples about models do what their pages say, and `manage.py run` talks to a model."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import MODEL
from tests.e2e.conftest import Stack
from tests.e2e.page_examples import Example, examples_of, run_example
from tests.environment import PROJECT_ROOT
from tests.inference.pulling.hub_server import COMMIT, REPOSITORY, Hub, files_of, serve

EXAMPLES = [item for item in examples_of("api.md") if item.title.startswith("Models: ")]
_WRITE = (
    "import sys; from pathlib import Path; from tests.inference.engine.tiny_models import write_model;"
    "write_model(Path(sys.argv[1]))"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a few thousand weights."""
    folder = tmp_path_factory.mktemp("tiny")
    command = [sys.executable, "-c", _WRITE, str(folder)]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def hub(tiny: Path) -> Iterator[Hub]:
    found = Hub(files_of(tiny))
    server = serve(found)
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory, tiny: Path, hub: Hub) -> Iterator[Stack]:
    root = tmp_path_factory.mktemp("models")
    for name in ("tiny", "my-model"):
        shutil.copytree(tiny, root / name)
    stack = Stack(
        tmp_path_factory.mktemp("data"),
        model_root=root,
        LLAMA_HUB_ENDPOINT=hub.url,
        LLAMA_DEFAULT_MODEL="tiny",
    )
    try:
        stack.wait_ready()
        yield stack
    finally:
        stack.stop()


def test_a_model_answers_in_the_terminal(stack: Stack) -> None:
    words = (MODEL, "What is the capital of France?", "--temperature", "0", "--max-tokens", "20")
    assert "Paris" in stack.manage("run", *words)


def test_the_way_from_a_folder_to_its_end(own_stack: Stack, tmp_path: Path) -> None:
    (example,) = examples_of("models.md")[:1]
    # The folder that `serve` has found at its start is registered by hand in the example.
    forget(own_stack, "my-model")
    last = run_example(own_stack, example, tmp_path).strip().splitlines()[-1]
    assert '"state":"removed"' in last.replace(" ", "")
    assert Path(own_stack.environment["LLAMA_MODEL_PATH"], "my-model", "config.json").is_file()


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_of_the_api_does_what_it_says(
    own_stack: Stack, example: Example, tmp_path: Path
) -> None:
    forget(own_stack, "my-model")
    said = run_example(own_stack, example, tmp_path, **{"org/name": REPOSITORY})
    assert COMMIT in said if "hub" in example.title else "my-model" in said
    forget(own_stack, "fetched")


def forget(stack: Stack, name: str) -> None:
    """Whether or not it is there; a folder stays, what was fetched goes."""
    url = f"{stack.url}/api/models/{name}"
    assert httpx.delete(url, headers=stack.headers, timeout=60).status_code in (200, 404)
