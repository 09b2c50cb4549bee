"""`manifest.json` of a pulled model: where it came from, and size and SHA-256 of each file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference.pulling.sources import HubSource, WheelSource

MANIFEST = "manifest.json"
_WEIGHTS = (".safetensors", ".gguf")


def write_manifest(folder: Path, source: HubSource, commit: str, files: dict[str, Any]) -> None:
    """Of a repository's files, `{name: {"bytes", "sha256"}}`, at the commit that was fetched."""
    content = {
        "format": 1,
        "source": source.spelling,
        "revision": commit,
        "files": files,
        "weights_sha256": weights_digest(files),
    }
    text = json.dumps(content, indent=2, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def weights_digest(files: dict[str, Any]) -> str:
    """The weights' SHA-256; of several files that of a list of their names and digests, by name."""
    digests = {
        name: str(facts["sha256"]) for name, facts in files.items() if name.endswith(_WEIGHTS)
    }
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def commit_of(folder: Path) -> str:
    """The commit that a pulled folder holds; empty where its manifest names none."""
    return str(_read(folder).get("revision") or "")


def source_of(folder: Path) -> str:
    """The spelling of the source that a pulled folder came from."""
    return str(_read(folder).get("source") or "")


def add_source(folder: Path, source: WheelSource) -> None:
    """Complete the manifest that the conversion has written into `folder`."""
    manifest = _read(folder)
    manifest["converted_from"] = manifest.pop("source", None)
    manifest["source"] = source.spelling
    manifest["wheel_sha256"] = source.wheel_sha256
    manifest["license"] = source.license
    text = json.dumps(manifest, indent=2, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def is_intact(folder: Path) -> bool:
    """Every file of the manifest is there in its size. Takes milliseconds."""
    files = _files(folder)
    return bool(files) and all(
        _size(folder / name) == facts.get("bytes") for name, facts in files.items()
    )


def find_damage(folder: Path, on_fraction: Callable[[float], None]) -> str:
    """The first file whose content is not what the manifest says; empty when there is none."""
    files = _files(folder)
    for index, (name, facts) in enumerate(sorted(files.items())):
        on_fraction(index / len(files))
        if _size(folder / name) is None or _sha256(folder / name) != facts.get("sha256"):
            return name
    on_fraction(1.0)
    return "" if files else MANIFEST


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    files = _read(folder).get("files")
    if not isinstance(files, dict):
        return {}
    return {
        name: facts
        for name, facts in files.items()
        if isinstance(facts, dict) and Path(name).name == name
    }


def _read(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
