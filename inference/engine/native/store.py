"""Looks for what an earlier preparation made: nothing here builds, measures or loads a model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from inference.engine.native.artifact import Artifact, artifact_file, open_artifact
from inference.engine.native.compiler import find_library, open_library
from inference.engine.native.library import KernelError, KernelLibrary
from inference.model_files import ModelFiles

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FastPath:
    """Kernels for this machine and a model packed for them."""

    library: KernelLibrary
    artifact: Artifact


def find_fast_path(cache_dir: Path, files: ModelFiles) -> FastPath | None:
    """What is there and fits; None where something has to be made first."""
    library_file = find_library(cache_dir)
    packed = artifact_file(cache_dir, files)
    if library_file is None or not packed.is_file():
        return None
    try:
        library = open_library(library_file)
    except (KernelError, OSError) as error:
        logger.warning("%s", error)
        return None
    artifact = open_artifact(packed)
    return FastPath(library, artifact) if artifact is not None else None
