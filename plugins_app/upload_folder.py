"""The folder of uploaded plugins: a plugin appears in it whole, or not at all.

What a process leaves behind that is killed in between lies beside it, where nobody looks for plugins;
the next upload removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode

#: Bytes that the disk keeps for everything else: the database must be able to go on.
DISK_RESERVE = 64 * 1024 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT}
_OLD = 3600.0


def folder_of(slug: str) -> Path:
    root: Path = settings.LLAMA.plugins_dir
    return root / slug


def is_uploaded(path: str) -> bool:
    return Path(path).parent == settings.LLAMA.plugins_dir


@contextmanager
def unpacked(slug: str, files: Mapping[str, bytes]) -> Iterator[Path]:
    """A folder named `slug` with these files, surely on the disk, that is gone after the block
    unless it was moved away. Raises AppError BACKEND_UNAVAILABLE where the disk is full."""
    with _told_when_full():
        work = _work_folder()
    folder = work / slug
    try:
        with _told_when_full():
            size = sum(map(len, files.values()))
            if shutil.disk_usage(work).free < DISK_RESERVE + size:
                raise OSError(errno.ENOSPC, "the disk's reserve is reached")
            for name, content in files.items():
                _write(folder / name, content)
        yield folder
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Whoever changes the folder looks first whether a name is free: nobody else may come in between.

    To be entered before the transaction, and left after it: the next one must see what it has written.
    """
    root: Path = settings.LLAMA.plugins_dir.parent
    with _told_when_full():
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(root / "uploads.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def put_in_place(folder: Path | None, slug: str) -> Iterator[None]:
    """`folder` stands where the plugin lives (None: nothing does) once the block has ended well.

    What was there before comes back where the block raises. Raises AppError as `unpacked` does.
    """
    place = folder_of(slug)
    with _told_when_full():
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        work = _work_folder()
    before = work / slug
    try:
        with _told_when_full():
            if place.exists():
                place.rename(before)
        try:
            with _told_when_full():
                if folder is not None:
                    folder.rename(place)
                _sync(place.parent)
            yield
        except BaseException:
            if folder is not None and place.exists():
                shutil.rmtree(place, ignore_errors=True)
            if before.exists():
                before.rename(place)
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _work_folder() -> Path:
    root: Path = settings.LLAMA.plugins_dir.parent / "incoming"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(root)
    work = root / secrets.token_hex(8)
    work.mkdir(mode=0o700)
    return work


def _sweep(root: Path) -> None:
    for old in root.iterdir():
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > _OLD:
                shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    # Readable for all: an isolated plugin may run as another user. The folders above are private.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told_when_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise AppError(
            ErrorCode.BACKEND_UNAVAILABLE,
            "The server's disk has no room for this plugin.",
            retry_after=60,
        ) from error
