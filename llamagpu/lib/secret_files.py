"""Secrets that the installation makes for itself, each in a file that only its owner may read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def read_or_create(path: Path, *, num_bytes: int = 48) -> str:
    """The secret in `path`, made at first use (mode 0600). Two processes at once agree on one."""
    try:
        return _read(path)
    except FileNotFoundError:
        write_once(path, secrets.token_urlsafe(num_bytes))
        return _read(path)


def write_once(path: Path, value: str) -> bool:
    """Write `value` (mode 0600) unless the file is there already; says whether it wrote.

    The name appears only with its whole content: a reader never sees half a secret.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(value + "\n")
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _read(path: Path) -> str:
    value = path.read_text(encoding="utf-8").strip()
    if not value:
        raise ValueError(f"{path} is empty: remove it to have a new secret made")
    return value
