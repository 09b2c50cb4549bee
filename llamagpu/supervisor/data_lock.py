"""One supervisor per data directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Self

from llamagpu.supervisor.errors import StartError


class DataLock:
    """Holds `<data dir>/serve.lock` while entered. The kernel lets go of it when we die.

    Raises StartError when another live supervisor holds it, or the directory cannot be written.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._path = data_dir / "serve.lock"

    def __enter__(self) -> Self:
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartError(
                f"The data directory {self._data_dir} cannot be used: {error.strerror}. "
                "Make it writable, or name another one in LLAMA_DATA_DIR."
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StartError(
                f"Another `manage.py serve` (process {holder}) already serves {self._data_dir}. "
                "Stop it first, or give this one its own directory in LLAMA_DATA_DIR."
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._descriptor)
