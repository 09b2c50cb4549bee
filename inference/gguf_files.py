"""A GGUF file's facts in the words of a model folder, and where its converted form lies (no torch).

The engine serves a GGUF through a safetensors folder that it makes once, on the first load, and
keeps under the data directory's cache. The folder's name follows from the file's place, size and
time of change, so a file that was replaced is converted anew.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from inference.gguf_header import GgufError, GgufHeader, read_gguf_header
from inference.model_files import ModelFiles, ModelFilesError

SUFFIX = ".gguf"
_FOLDER = "gguf"
_MAX_SIZE = 1_000_000_000
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def is_gguf(path: Path) -> bool:
    """Whether `path` is a file that calls itself GGUF."""
    return path.suffix.lower() == SUFFIX and path.is_file()


def read_gguf_files(file: Path) -> ModelFiles:
    """The facts of the model in the GGUF `file`. Raises ModelFilesError."""
    try:
        header = read_gguf_header(file)
    except GgufError as error:
        raise ModelFilesError(str(error)) from error
    fields = _Fields(file, header)
    _check_whole(file, header)
    heads = fields.required("attention.head_count")
    hidden = fields.required("embedding_length")
    tensors = header.tensors.values()
    bytes_by_type: dict[str, int] = {}
    for tensor in tensors:
        bytes_by_type[tensor.dtype] = bytes_by_type.get(tensor.dtype, 0) + tensor.num_bytes
    ids = [header.fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot")]
    bos = header.fields.get("tokenizer.ggml.bos_token_id")
    return ModelFiles(
        path=file,
        architecture=fields.architecture,
        model_type=fields.architecture,
        max_model_len=fields.required("context_length"),
        vocab_size=_vocab_size(file, header),
        num_layers=fields.required("block_count"),
        num_heads=heads,
        num_kv_heads=fields.optional("attention.head_count_kv") or heads,
        head_dim=fields.optional("attention.key_length") or max(1, hidden // heads),
        hidden_size=hidden,
        eos_token_ids=tuple(sorted({i for i in ids if type(i) is int})),
        bos_token_id=bos if type(bos) is int else None,
        weight_bytes=sum(tensor.num_bytes for tensor in tensors),
        num_parameters=sum(tensor.num_elements for tensor in tensors),
        stored_dtype=max(bytes_by_type, key=lambda name: bytes_by_type[name]),
        sliding_window=fields.optional("attention.sliding_window"),
        weight_files=(file.name,),
        format="gguf",
    )


def converted_folder(file: Path, cache_dir: Path) -> Path:
    """Where the converted form of the GGUF `file` lies, or will. Raises OSError."""
    facts = file.stat()
    stamp = hashlib.sha256(f"{facts.st_size}:{facts.st_mtime_ns}".encode()).hexdigest()[:12]
    return cache_dir / _FOLDER / f"{_stem(file)}.{stamp}"


def outdated_folders(file: Path, cache_dir: Path) -> list[Path]:
    """Converted forms of what `file` was before it was replaced."""
    current = converted_folder(file, cache_dir)
    pattern = re.compile(re.escape(_stem(file)) + r"\.[0-9a-f]{12}")
    siblings = current.parent.iterdir() if current.parent.is_dir() else ()
    return [path for path in siblings if pattern.fullmatch(path.name) and path != current]


def _stem(file: Path) -> str:
    place = hashlib.sha256(os.fsencode(file.absolute())).hexdigest()[:8]
    return f"{_UNSAFE.sub('_', file.stem)[:80]}.{place}"


class _Fields:
    """Reads the sizes under the architecture's own prefix, bounded like those of a config."""

    def __init__(self, file: Path, header: GgufHeader) -> None:
        self._file = file
        self._header = header
        name = header.fields.get("general.architecture")
        if not isinstance(name, str) or not name:
            raise ModelFilesError(f"{file}: general.architecture is missing")
        self.architecture = name

    def required(self, name: str) -> int:
        value = self.optional(name)
        if value is None:
            raise ModelFilesError(f"{self._file}: {self.architecture}.{name} is missing")
        return value

    def optional(self, name: str) -> int | None:
        value: Any = self._header.fields.get(f"{self.architecture}.{name}")
        # Some families give one number per layer; the largest bounds them all.
        if isinstance(value, list) and value and all(type(item) is int for item in value):
            value = max(value)
        if value is None or value == 0:
            return None
        if type(value) is not int or not 1 <= value <= _MAX_SIZE:
            raise ModelFilesError(
                f"{self._file}: {self.architecture}.{name} is {value!r}, outside 1 to {_MAX_SIZE}"
            )
        return value


def _check_whole(file: Path, header: GgufHeader) -> None:
    num_parts = header.fields.get("split.count", 1)
    if num_parts != 1:
        raise ModelFilesError(
            f"{file}: one of {num_parts} parts of a model; merge them into one file "
            "(llama-gguf-split --merge)"
        )
    if not header.tensors:
        raise ModelFilesError(f"{file}: holds no tensors")


def _vocab_size(file: Path, header: GgufHeader) -> int:
    embedding = header.tensors.get("token_embd.weight")
    num_tokens = header.lengths.get("tokenizer.ggml.tokens", 0)
    if not num_tokens:
        raise ModelFilesError(f"{file}: holds no vocabulary; the model has no tokenizer")
    if embedding is None or len(embedding.shape) != 2:
        raise ModelFilesError(f"{file}: holds no token embedding: not a language model")
    rows = embedding.shape[1]
    if num_tokens > rows:
        raise ModelFilesError(f"{file}: {num_tokens} tokens, but an embedding of {rows} rows")
    return rows
