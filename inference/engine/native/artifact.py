"""The packed model on the disk: one file per model and format, written once, mapped at each start.

The file is safetensors with its data at a multiple of 64 bytes, so that mapped panels begin on cache
lines; the shape and what was found out about the model's quality are in the header's metadata. The
file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from inference.engine.kv_cache.host_memory import reserve_zeros
from inference.engine.native.shape import PACK_VERSION, NativeShape
from inference.model_files import ModelFiles
from inference.safetensors_header import SafetensorsError, read_header

_ALIGNMENT = 64
_TYPE_NAMES = {
    torch.uint8: "U8", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
}  # fmt: skip
_TYPES = {name: dtype for dtype, name in _TYPE_NAMES.items()}


@dataclass(frozen=True, slots=True)
class Qualification:
    """How the kernels' answers compare with the model's own: `perplexity_ratio` to float32's."""

    perplexity_ratio: float
    top1_agreement: float
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A mapped file. Tensors are views of the mapping and keep it alive."""

    shape: NativeShape
    qualification: Qualification | None
    tensors: dict[str, torch.Tensor]

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def artifact_file(cache_dir: Path, files: ModelFiles) -> Path:
    """Where the packed form of a model lies, packed or not.

    The name follows from the config's bytes and from size and time of each weight file.
    """
    digest = hashlib.sha256(f"pack {PACK_VERSION}".encode())
    digest.update((files.path / "config.json").read_bytes())
    for name in files.weight_files:
        facts = (files.path / name).stat()
        digest.update(f"{name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return cache_dir / "packed" / f"{files.path.name}-{digest.hexdigest()[:16]}.safetensors"


def write_artifact(
    file: Path,
    shape: NativeShape,
    tensors: dict[str, torch.Tensor],
    qualification: Qualification | None,
) -> None:
    """Raises OSError, and leaves nothing half-written behind."""
    header: dict[str, Any] = {
        "__metadata__": {
            "shape": json.dumps(shape.to_json()),
            "qualification": json.dumps(_to_json(qualification)),
        }
    }
    padded, position = {}, 0
    for name, tensor in tensors.items():
        data = _padded(tensor)
        padded[name] = data
        shape_of = list(tensor.shape) if data.numel() == tensor.numel() else [data.numel()]
        header[name] = {
            "dtype": _TYPE_NAMES[tensor.dtype],
            "shape": shape_of,
            "data_offsets": [position, position + data.nbytes],
        }
        position += data.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}")
    try:
        with draft.open("wb") as stream:
            stream.write(struct.pack("<Q", len(text)) + text)
            for data in padded.values():
                stream.write(data.view(torch.uint8).numpy().data)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def open_artifact(file: Path) -> Artifact | None:
    """The packed model; None where there is none, or it is damaged and must be made anew.

    Embeddings are mapped: a step reads a few rows of them. All else is copied into huge pages, out
    of which the kernels read twice as fast.
    """
    try:
        infos = read_header(file)
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            metadata = json.loads(stream.read(length))["__metadata__"]
            # A private mapping: torch wants memory that it could write to.
            mapped = mmap.mmap(stream.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=_PROTECTION)
            shape = NativeShape.from_json(json.loads(metadata["shape"]))
            found = json.loads(metadata["qualification"])
            qualification = Qualification(**found) if found else None
            start = 8 + length
            num_copied = infos[_EMBEDDINGS].start
            copied = reserve_zeros((num_copied,), torch.uint8, huge=True)
            stream.seek(start)
            if stream.readinto(copied.numpy().data) != num_copied:
                return None
    except (SafetensorsError, OSError, ValueError, KeyError, TypeError):
        return None
    whole = torch.frombuffer(mapped, dtype=torch.uint8)[start:]
    tensors = {}
    for name, info in infos.items():
        source = whole if name == _EMBEDDINGS else copied
        tensors[name] = source[info.start : info.end].view(_TYPES[info.dtype]).view(info.shape)
    return Artifact(shape, qualification, tensors)


_PROTECTION = mmap.PROT_READ | mmap.PROT_WRITE
_EMBEDDINGS = "embeddings"  # the last tensor of the file


def _padded(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's numbers in a row, with zeros up to the next multiple of 64 bytes."""
    flat = tensor.detach().contiguous().flatten()
    missing = -flat.nbytes % _ALIGNMENT // flat.itemsize
    return torch.cat([flat, flat.new_zeros(missing)]) if missing else flat


def _to_json(qualification: Qualification | None) -> dict[str, Any] | None:
    if qualification is None:
        return None
    return {name: getattr(qualification, name) for name in Qualification.__slots__}


def stale_drafts(folder: Path) -> Iterator[Path]:
    """What writers that were killed left behind."""
    for draft in folder.glob("*.[0-9]*"):
        if draft.suffix[1:].isdigit() and not Path(f"/proc/{draft.suffix[1:]}").exists():
            yield draft
