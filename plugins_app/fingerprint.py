"""One digest over all files of a plugin, so that nobody runs other code than what was approved.

Standard library only: whoever loads a plugin checks it again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

#: A plugin is a small program. What is larger carries something else.
MAX_FILES = 1000
MAX_BYTES = 32 * 1024 * 1024
#: Not part of a plugin, and never read by one: a runner takes no compiled files from there.
_LEFT_OUT = "__pycache__"


class FingerprintError(Exception):
    """The files of a plugin cannot be read, or are not what a plugin consists of."""


def fingerprint(path: Path) -> str:
    """SHA-256 over names and contents of a plugin's file, or of its folder's, in their order.

    Raises FingerprintError, also for links, pipes and devices among them.
    """
    return read_sources(path)[0]


def read_sources(path: Path) -> tuple[str, dict[str, bytes]]:
    """The digest, and of the bytes that it was made of those that are Python, by their names.

    Raises FingerprintError.
    """
    digest = hashlib.sha256()
    sources: dict[str, bytes] = {}
    num_bytes = 0
    try:
        for name, file in files_of(path):
            content = _read(file, MAX_BYTES - num_bytes)
            num_bytes += len(content)
            label = name.encode("utf-8", "surrogateescape")
            digest.update(b"%d:%b%d:" % (len(label), label, len(content)))
            digest.update(content)
            if name.endswith(".py"):
                sources[name] = content
    except OSError as error:
        raise FingerprintError(f"cannot be read: {error.strerror or error}") from error
    return digest.hexdigest(), sources


def files_of(path: Path) -> Iterator[tuple[str, Path]]:
    """Each file by its name inside the plugin. Raises FingerprintError and OSError."""
    if path.is_dir():
        found = sorted(_walk(path, ""))
        if len(found) > MAX_FILES:
            raise FingerprintError(f"holds more than {MAX_FILES} files")
        yield from found
    else:
        yield path.name, path


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            name = f"{prefix}{entry.name}"
            if entry.name == _LEFT_OUT:
                continue
            if number > MAX_FILES:
                raise FingerprintError(f"holds more than {MAX_FILES} files")
            if entry.is_symlink():
                raise FingerprintError(f"holds a link: {name}")
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                yield name, Path(entry.path)
            else:
                raise FingerprintError(f"holds something that is no file: {name}")


def _read(file: Path, room: int) -> bytes:
    # No waiting for the other end of a pipe that has taken the file's place.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        content = opened.read(room + 1)
    if len(content) > room:
        raise FingerprintError(f"is larger than {MAX_BYTES} bytes")
    return content
