"""The kernels, compiled once per run into a folder of the run's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.engine.native.compiler import build_library, open_library
from inference.engine.native.library import KernelLibrary


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
