"""The bytes of callers' files, under the data directory: each named by its id alone, mode 0600.

A file is written as a draft and gets its name only when it is whole, so nobody ever reads half of one.
What a process leaves behind that is killed in between is a draft, or a file without a row; a sweep
finds both.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from django.conf import settings

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode

#: Bytes that the disk keeps for everything else: the database must be able to go on.
DISK_RESERVE = 64 * 1024 * 1024
CHUNK = 64 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT}


def path_of(file_id: uuid.UUID) -> Path:
    return _root() / file_id.hex


def partial_path(batch_id: uuid.UUID, kind: str) -> Path:
    """Where the results of a batch are gathered until it ends; `kind` is output or errors."""
    return _folder("batches") / f"{batch_id.hex}.{kind}"


class Draft:
    """A file that is being received. Leave the block without `keep`, and nothing of it stays."""

    def __init__(self, max_bytes: int) -> None:
        """Raises AppError BACKEND_UNAVAILABLE where the disk is full."""
        self.num_bytes = 0
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        with told_when_full():
            self._path = _folder("drafts") / secrets.token_hex(16)
            self._file: IO[bytes] = _create(self._path)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Raises AppError CONTENT_TOO_LARGE, and BACKEND_UNAVAILABLE where the disk is full."""
        self.num_bytes += len(data)
        if self.num_bytes > self._max_bytes:
            raise AppError(
                ErrorCode.CONTENT_TOO_LARGE,
                f"file: Is larger than {self._max_bytes} bytes, the most that is accepted "
                "(LLAMA_MAX_FILE_BYTES).",
            )
        with told_when_full():
            if shutil.disk_usage(self._path.parent).free < DISK_RESERVE + len(data):
                raise OSError(errno.ENOSPC, "the disk's reserve is reached")
            self._file.write(data)
        self._hash.update(data)

    def keep(self, file_id: uuid.UUID) -> None:
        """Give it its name. Raises AppError BACKEND_UNAVAILABLE where the disk is full."""
        with told_when_full():
            seal(self._file)
            self._path.rename(path_of(file_id))
            _sync_folder(_root())

    def discard(self) -> None:
        """Nothing happens to one that was kept."""
        self._file.close()
        self._path.unlink(missing_ok=True)


@contextmanager
def told_when_full() -> Iterator[None]:
    """Raises AppError BACKEND_UNAVAILABLE for a write that found no room; other errors as they are."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise AppError(
            ErrorCode.BACKEND_UNAVAILABLE,
            "The server's disk has no room for this file.",
            retry_after=60,
        ) from error


def seal(file: IO[bytes]) -> None:
    """Close a file whose bytes are surely on the disk. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())
    file.close()


def write_at(path: Path, offset: int, data: bytes) -> None:
    """Put `data` at `offset`, surely on the disk. Raises OSError.

    The file is made only for its beginning: what is missing later was given its last name meanwhile.
    """
    flags = os.O_WRONLY | (0 if offset else os.O_CREAT)
    descriptor = os.open(path, flags, 0o600)
    try:
        while data:
            written = os.pwrite(descriptor, data, offset)
            data, offset = data[written:], offset + written
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_partial(partial: Path, size: int, file_id: uuid.UUID) -> str:
    """Give a gathered file its last name, cut to `size` bytes; its SHA-256. Raises OSError.

    May be repeated: one that has its name already keeps it.
    """
    final = path_of(file_id)
    if partial.exists():
        os.truncate(partial, size)
        partial.rename(final)
        _sync_folder(_root())
    with final.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(file_id: uuid.UUID) -> None:
    """Whoever reads it goes on reading. Raises OSError."""
    path_of(file_id).unlink(missing_ok=True)


def discard_partials(batch_id: uuid.UUID) -> None:
    """Raises OSError."""
    for kind in ("output", "errors"):
        partial_path(batch_id, kind).unlink(missing_ok=True)


def partial_batch_ids() -> set[uuid.UUID]:
    """The batches that have gathered files. Raises OSError."""
    return {uuid.UUID(hex=path.stem) for path in _folder("batches").iterdir()}


def remove_old_drafts(age: float) -> int:
    """Those that nobody has written to for `age` seconds; how many it was. Raises OSError."""
    old = [path for path in _folder("drafts").iterdir() if _is_older(path, age)]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def old_file_ids(age: float) -> Iterator[uuid.UUID]:
    """The ids of all files whose bytes are older than `age` seconds. Raises OSError."""
    for path in _root().iterdir():
        try:
            file_id = uuid.UUID(hex=path.name)
        except ValueError:
            continue
        if _is_older(path, age):
            yield file_id


def _is_older(path: Path, age: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime > age
    except FileNotFoundError:
        return False


def _root() -> Path:
    root: Path = settings.LLAMA.files_dir
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return root


def _folder(name: str) -> Path:
    folder = _root() / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _create(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
