"""The built-in model ready for level 3: prepared by whoever asks first, and kept for later runs.

`python -m tests.prepared_model` does the work, for preparing needs torch, which not every test may load.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests.environment import MODEL_ROOT, PROJECT_ROOT

MODEL = MODEL_ROOT / "smollm2-135m-instruct"
# Beside the model, where the project itself keeps such files: preparing takes two minutes.
CACHE = MODEL_ROOT.parent / "cache"


def prepared_cache() -> Path:
    """The folder with the kernels and the packed model; of several who ask, the others wait for one."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, "-m", "tests.prepared_model"]
        subprocess.run(command, cwd=PROJECT_ROOT, check=True)
    return CACHE


def prepare_missing() -> None:
    from inference.engine.native.artifact import artifact_file, open_artifact
    from inference.engine.native.compiler import build_library
    from inference.engine.native.preparation import prepare
    from inference.model_files import read_model_files

    files = read_model_files(MODEL)
    build_library(CACHE)
    if open_artifact(artifact_file(CACHE, files)) is None:
        num_threads = len(os.sched_getaffinity(0))
        prepare(files, CACHE, num_threads, lambda stage, fraction: None)


if __name__ == "__main__":
    prepare_missing()
