"""The kernels, compiled once per run into a folder of the run's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.engine.native.compiler import build_library, open_library
from inference.engine.native.library import KernelLibrary
from inference.engine.native.preparation import prepare
from inference.model_files import read_model_files
from tests.inference.engine.tiny_models import write_quick_model


@pytest.fixture(scope="session")
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that holds the compiled kernels; tests add packed models to it."""
    folder = tmp_path_factory.mktemp("kernel-cache")
    build_library(folder)
    return folder


@pytest.fixture(scope="session")
def library(kernel_cache: Path) -> KernelLibrary:
    """The kernels for this machine."""
    return open_library(build_library(kernel_cache))


@pytest.fixture(scope="session")
def quick_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model that is measured in a moment."""
    return write_quick_model(tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="session")
def prepared_cache(quick_model: Path, kernel_cache: Path) -> Path:
    """The same folder, in which the quick model is ready for level 3."""
    prepare(read_model_files(quick_model), kernel_cache, 1, lambda stage, fraction: None)
    return kernel_cache
