"""Archived audit rows as a file: gzip, one JSON object a line, complete or not there at all."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from monitoring.models import AuditLog

_FIELDS = tuple(field.attname for field in AuditLog._meta.concrete_fields)
_BLOCK = 1 << 20


class ArchiveError(Exception):
    """The file is missing, is not what was sealed, or cannot be read."""


@dataclass(frozen=True, slots=True)
class WrittenArchive:
    name: str
    sha256: str
    num_rows: int


def write_archive(folder: Path, name: str, rows: Iterable[AuditLog]) -> WrittenArchive:
    """Write `rows` (mode 0600); the name appears only once all of it is on the disk."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, draft = folder / name, folder / f".{name}.partial"
    num_rows = 0
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            # No time and no name inside: the same rows give the same file.
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
                for row in rows:
                    packed.write(line_of(row).encode() + b"\n")
                    num_rows += 1
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(folder)
    return WrittenArchive(name, digest_of(path), num_rows)


def read_archive(path: Path, sha256: str) -> Iterator[AuditLog]:
    """The rows of an archive, once its digest is `sha256`. Raises ArchiveError."""
    if digest_of(path) != sha256:
        raise ArchiveError("its content is not what was sealed")
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield row_of(line)
    except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError) as error:
        raise ArchiveError(f"it cannot be read: {error}") from error


def digest_of(path: Path) -> str:
    """SHA-256 of the file, in hex. Raises ArchiveError where there is none."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except FileNotFoundError as error:
        raise ArchiveError("it is missing") from error
    except OSError as error:
        raise ArchiveError(f"it cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def line_of(row: AuditLog) -> str:
    """Every column, as JSON."""
    fields: dict[str, Any] = {name: getattr(row, name) for name in _FIELDS}
    fields["created_at"] = row.created_at.isoformat()
    return json.dumps(fields, ensure_ascii=True)


def row_of(line: str) -> AuditLog:
    """The row that `line_of` spelt, not saved. Raises ValueError, TypeError or KeyError."""
    fields = json.loads(line)
    fields["created_at"] = datetime.fromisoformat(fields["created_at"])
    return AuditLog(**fields)


def _sync_folder(folder: Path) -> None:
    """The name itself must survive a crash too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
