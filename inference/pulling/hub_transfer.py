"""One file of a hub to the disk: resumed where it stopped, checked against the digest it must have."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx

from inference.pulling.errors import PullError
from inference.pulling.hub_listing import HubAccess, HubFile

_BLOCK = 1024 * 1024
_CONNECT_TIMEOUT, _READ_TIMEOUT = 15.0, 30.0
# Attempts in a row that brought no byte.
MAX_ATTEMPTS = 5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_PART = ".part"

OnBytes = Callable[[int], None]


class _RetryError(Exception):
    """Worth another attempt, after `pause` seconds where the server said so."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class Fetcher:
    """Fetches files one after the other over kept connections. The token goes to the hub alone: a
    redirect to another host is followed without it."""

    def __init__(self, access: HubAccess, first_pause: float = _FIRST_PAUSE) -> None:
        headers = {"Accept-Encoding": "identity"}
        if access.token:
            headers["Authorization"] = f"Bearer {access.token}"
        self._client = httpx.Client(
            follow_redirects=True,
            headers=headers,
            timeout=httpx.Timeout(_READ_TIMEOUT, connect=_CONNECT_TIMEOUT),
        )
        self._first_pause = first_pause

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def fetch(self, url: str, file: HubFile, folder: Path, on_bytes: OnBytes) -> str:
        """Have `folder` hold `file`, whole; its SHA-256. Raises PullError, OSError.

        What an earlier run has left is read again, since nobody knows how that run ended.
        """
        whole, part = folder / file.name, folder / (file.name + _PART)
        if whole.exists():
            whole.rename(part)
        failures, held = 0, -1
        while True:
            digests = _Digests(file)
            digests.add_file(part, on_bytes)
            try:
                self._append(url, file, part, digests, on_bytes)
                break
            except (_RetryError, httpx.TransportError) as error:
                failures = failures + 1 if digests.num_bytes <= held else 1
                held = max(held, digests.num_bytes)
                if failures >= MAX_ATTEMPTS:
                    raise PullError(
                        f"{file.name} could not be fetched: {_reason(error)}. What is here stays: "
                        "pull again to go on."
                    ) from error
                pause = getattr(error, "pause", None)
                waited = self._first_pause * 2 ** (failures - 1) if pause is None else pause
                time.sleep(min(_LONGEST_PAUSE, waited))
        if not digests.are_right():
            part.unlink()
            raise PullError(
                f"{file.name} is not the file that the hub has listed: its content differs. "
                "Nothing was kept of it; pull again."
            )
        part.rename(whole)
        return digests.sha256

    def _append(
        self, url: str, file: HubFile, part: Path, digests: _Digests, on_bytes: OnBytes
    ) -> None:
        """One request for what is missing. Raises _RetryError, PullError, OSError, TransportError."""
        begin = digests.num_bytes
        if begin == file.num_bytes and part.exists():
            return
        headers = {"Range": f"bytes={begin}-"} if begin else {}
        with self._client.stream("GET", url, headers=headers) as response:
            _check_status(response, file)
            if begin and response.status_code != httpx.codes.PARTIAL_CONTENT:
                digests.reset()  # it sends the whole
                begin = 0
            elif begin and not _continues(response, begin):
                part.unlink()
                raise _RetryError("the server sent another range than asked for")
            with part.open("r+b" if begin else "wb") as target:
                target.seek(begin)
                for block in response.iter_raw():
                    if digests.num_bytes + len(block) > file.num_bytes:
                        raise PullError(f"The hub sends more of {file.name} than it has listed.")
                    target.write(block)
                    digests.add(block)
                    on_bytes(digests.num_bytes)
        if digests.num_bytes < file.num_bytes:
            raise _RetryError("the connection was cut")


class _Digests:
    """Digests of what is here so far."""

    def __init__(self, file: HubFile) -> None:
        self._file = file
        self.reset()

    def reset(self) -> None:
        self.num_bytes = 0
        self._sha256 = hashlib.sha256()
        # As git names a blob; says nothing of who made it, but all of whether it is whole.
        self._git: Any = hashlib.sha1(usedforsecurity=False)
        self._git.update(f"blob {self._file.num_bytes}\0".encode())

    def add(self, block: bytes) -> None:
        self.num_bytes += len(block)
        self._sha256.update(block)
        if self._file.git_sha1:
            self._git.update(block)

    def add_file(self, path: Path, on_bytes: OnBytes) -> None:
        """What an earlier run has left; a file that is too long is none of ours."""
        if not path.exists():
            return
        if path.stat().st_size > self._file.num_bytes:
            path.unlink()
            return
        with path.open("rb") as source:
            while block := source.read(_BLOCK):
                self.add(block)
                on_bytes(self.num_bytes)

    def are_right(self) -> bool:
        if self._file.sha256:
            return self.sha256 == self._file.sha256
        return not self._file.git_sha1 or self._git.hexdigest() == self._file.git_sha1

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


def _check_status(response: httpx.Response, file: HubFile) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status == 429 or status >= 500:
        said = response.headers.get("Retry-After", "")
        raise _RetryError(
            f"the hub answered with {status}", float(said) if said.isdigit() else None
        )
    if status in (401, 403):
        raise PullError(
            f"The hub does not give {file.name} to us ({status}). A token in LLAMA_HUB_TOKEN opens "
            "what its owner may read."
        )
    raise PullError(f"The hub answered with {status} to {file.name}.")


def _continues(response: httpx.Response, begin: int) -> bool:
    said: str = response.headers.get("Content-Range", "")
    return said.startswith(f"bytes {begin}-")


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, _RetryError) else type(error).__name__
