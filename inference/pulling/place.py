"""How a pulled model appears under the model root: one puller at a time, one rename at the end."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from inference.pulling import manifest
from inference.pulling.errors import PullError


def check_target(target: Path, model_root: Path) -> None:
    """Raises PullError where something of somebody else would be overwritten."""
    if (model_root / "config.json").is_file():
        raise PullError(
            f"LLAMA_MODEL_PATH={model_root} is one model's folder. Point it to the folder above to "
            "keep several models there."
        )
    if target.exists() and not (target / manifest.MANIFEST).is_file():
        raise PullError(
            f"{target} is there already and was not made by a pull. Move it away to have it pulled."
        )


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Wait until no other process pulls this model."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def put_in_place(workshop: Path, target: Path) -> None:
    """`<workshop>/model` becomes `target`; what was there before stays in the workshop."""
    if target.exists():
        target.rename(workshop / "damaged")
    (workshop / "model").rename(target)
