"""From a GGUF file to the folder that the engine serves it through: converted once, then kept.

The conversion runs as a program of its own: it needs several times the memory of the file for a
moment, and only the end of a process surely gives that back. The folder appears by one rename.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from inference.engine.errors import LoadError
from inference.gguf_files import converted_folder, outdated_folders, read_gguf_files
from inference.memory_plan import (
    LEAST_KV_BYTES,
    LEAST_WEIGHT_BYTES,
    PROCESS_BYTES,
    least_memory,
)
from inference.model_files import ModelFiles, ModelFilesError, read_model_files
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.lifeline import dies_with_parent
from llamagpu.lib.memory import available_bytes, format_gib

logger = logging.getLogger(__name__)
Progress = Callable[[str, float], None]

CONVERTER: tuple[str, ...] = (sys.executable, "-m", "inference.engine.convert")
_PROJECT_ROOT = Path(__file__).resolve().parents[2]
# Measured with transformers' own loader: 4.8 bytes a parameter at the peak, twice that for float32.
# A family that is streamed needs a shard and a tensor at a time.
_WHOLE_BYTES_PER_PARAMETER, _WHOLE_BYTES_IN_FLOAT32 = 5, 10
_STREAMED_BYTES = 3 * 1024**3
_DISK_BYTES_PER_PARAMETER = {"F32": 4}
_DISK_SLACK = 64 * 1024**2


def ensure_converted(
    gguf: Path, cache_dir: Path, progress: Progress, converter: Sequence[str] = CONVERTER
) -> Path:
    """The folder that `gguf` is served from, made now where it is not there yet.

    Only one process converts a file at a time; others wait for it. Forms of what the file was
    before are removed. Raises LoadError naming the file and the reason.
    """
    try:
        files = read_gguf_files(gguf)
        folder = converted_folder(gguf, cache_dir)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(folder.with_name(f".{folder.name}.lock")):
            if not _is_whole(folder):
                _check_room(files, folder.parent)
                _convert(gguf, folder, progress, converter)
            for outdated in outdated_folders(gguf, cache_dir):
                shutil.rmtree(outdated, ignore_errors=True)
    except ModelFilesError as error:
        raise LoadError(str(error)) from error
    except OSError as error:
        place = error.filename or cache_dir
        raise LoadError(f"{gguf}: cannot be converted: {place}: {error.strerror}") from error
    return folder


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_whole(folder: Path) -> bool:
    """A folder that is there and readable; a damaged one is removed, so that it is made anew."""
    if not folder.exists():
        return False
    try:
        read_model_files(folder)
    except ModelFilesError as error:
        logger.warning("converting anew: %s", error)
        shutil.rmtree(folder)
        return False
    return True


def _check_room(files: ModelFiles, parent: Path) -> None:
    """Memory and disk for the conversion, before minutes are spent on it."""
    import torch

    from inference.engine.gguf_weights import is_streamable

    free = available_bytes()
    least = least_memory(
        files, weight_bytes_per_parameter=LEAST_WEIGHT_BYTES, kv_dtype_bytes=LEAST_KV_BYTES
    )
    # Where there is a GPU, the host's memory need not hold the model.
    if free is not None and least.total > free and not torch.cuda.is_available():
        raise LoadError(f"{files.path}: {least.describe(free)}", ErrorCode.INSUFFICIENT_MEMORY)
    is_plain = files.stored_dtype == "F32"
    per_parameter = _WHOLE_BYTES_IN_FLOAT32 if is_plain else _WHOLE_BYTES_PER_PARAMETER
    needed = files.num_parameters * per_parameter
    if is_streamable(files.architecture):
        needed = min(needed, _STREAMED_BYTES)
    needed += PROCESS_BYTES
    if free is not None and needed > free:
        raise LoadError(
            f"{files.path}: converting it needs {format_gib(needed)} of {format_gib(free)} GiB free "
            "memory; stop other models meanwhile, or use the model's safetensors",
            ErrorCode.INSUFFICIENT_MEMORY,
        )
    disk = files.num_parameters * _DISK_BYTES_PER_PARAMETER.get(files.stored_dtype, 2) + _DISK_SLACK
    free_disk = shutil.disk_usage(parent).free
    if disk > free_disk:
        raise LoadError(
            f"{files.path}: its converted form needs {format_gib(disk)} of "
            f"{format_gib(free_disk)} GiB free in {parent}"
        )


def _convert(gguf: Path, folder: Path, progress: Progress, converter: Sequence[str]) -> None:
    command = [*converter, "--gguf", str(gguf.absolute()), "--out", str(folder.absolute())]
    logger.info("%s: converting into %s, once", gguf, folder)
    kept: deque[str] = deque(maxlen=20)
    with subprocess.Popen(
        dies_with_parent(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        cwd=_PROJECT_ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            for line in process.stdout or ():
                _take_line(line.rstrip("\n"), progress, kept)
        except BaseException:
            process.kill()
            raise
    for line in kept:
        if line.startswith("warning: "):
            logger.warning("%s: %s", gguf, line.removeprefix("warning: "))
    if process.returncode != 0:
        error = next((line for line in reversed(kept) if line.startswith("error: ")), None)
        reason = error.removeprefix("error: ") if error else _last_words(process.returncode, kept)
        raise LoadError(reason if str(gguf) in reason else f"{gguf}: {reason}")


def _take_line(line: str, progress: Progress, kept: deque[str]) -> None:
    try:
        report = json.loads(line)
        progress(f"convert: {report['stage']}", float(report["fraction"]))
    except (ValueError, TypeError, KeyError):
        kept.append(line)


def _last_words(status: int, kept: deque[str]) -> str:
    told = kept[-1] if kept else "it said nothing"
    return f"the conversion ended with status {status}: {told}"
