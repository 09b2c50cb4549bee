"""Tiny models, made once per run, and engines that serve them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.inference.engine.harness import Harness, running_engine
from tests.inference.engine.tiny_models import byte_tokenizer, write_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny tensors gain nothing from threads, and the tests run beside each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random llama whose every id is one character."""
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random llama over single bytes: most of what it writes is no valid UTF-8."""
    return write_model(tmp_path_factory.mktemp("bytes"), tokenizer=byte_tokenizer(), seed=1)


@pytest.fixture
def engine(tiny_model: Path) -> Iterator[Harness]:
    """A running engine over the tiny model."""
    with running_engine(tiny_model) as harness:
        yield harness
