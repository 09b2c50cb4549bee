"""What a model folder holds, read without torch: config, safetensors headers, token ids.

The web process uses it to describe models and to check memory before loading, the engine to refuse
a broken folder before a byte of weights is read. Only headers are read, so a folder of any size
takes milliseconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.safetensors_header import SafetensorsError, TensorInfo, read_header

MAX_JSON_BYTES = 64 * 1024 * 1024
_MAX_VOCAB = 10_000_000
_MAX_LAYERS = 10_000
_MAX_SIZE = 10_000_000
_PICKLE_PATTERNS = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
# Families name the same size differently; the first name present wins.
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
_LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HEAD_KEYS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KV_HEAD_KEYS = ("num_key_value_heads", "num_kv_heads", "n_head_kv")
_HIDDEN_KEYS = ("hidden_size", "n_embd", "n_embed", "d_model")
# Recurrent families have no heads, no cache and no longest text; a bound keeps requests finite.
_ATTENTION_FREE = frozenset({"mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm"})
_OPEN_CONTEXT = 32_768
# BLOOM biases scores by distance and names no length in some configurations; it was trained on this.
_TRAINED_CONTEXT = {"bloom": 2048}


class ModelFilesError(Exception):
    """The folder holds no model that can be served. The message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model folder's facts. Sizes are counts, `weight_bytes` is bytes on disk of all tensors."""

    path: Path
    architecture: str
    model_type: str
    max_model_len: int
    vocab_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    eos_token_ids: tuple[int, ...]
    bos_token_id: int | None
    weight_bytes: int
    num_parameters: int
    stored_dtype: str
    sliding_window: int | None
    weight_files: tuple[str, ...]
    format: str = "safetensors"

    def kv_bytes_per_token(self, dtype_bytes: int) -> int:
        """Bytes of keys and values that one token holds in a cache of `dtype_bytes` per number."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * dtype_bytes


def read_model_files(path: Path) -> ModelFiles:
    """The facts of the model in folder `path`. Raises ModelFilesError."""
    _require_folder(path)
    config = read_json_object(path / "config.json")
    # Multimodal families nest the language model's sizes.
    text = config.get("text_config", config)
    if not isinstance(text, dict):
        raise ModelFilesError(f"{path / 'config.json'}: text_config is not an object")
    sizes = _Sizes(path / "config.json", text)
    weight_files, tensors = _read_weights(path)
    if not (path / "tokenizer.json").is_file():
        raise ModelFilesError(f"{path / 'tokenizer.json'}: missing; the model has no tokenizer")
    model_type = str(text.get("model_type") or config.get("model_type") or "unknown")
    hidden_size = sizes.required(_HIDDEN_KEYS, _MAX_SIZE)
    num_heads, num_kv_heads, head_dim = _read_heads(sizes, model_type, hidden_size)
    num_layers = sizes.required(_LAYER_KEYS, _MAX_LAYERS)
    vocab_size = sizes.required(("vocab_size",), _MAX_VOCAB)
    _check_plausible(sizes.file, tensors, num_layers, vocab_size)
    generation = _read_generation_config(path)
    dtype_bytes: dict[str, int] = {}
    for tensor in tensors:
        dtype_bytes[tensor.dtype] = dtype_bytes.get(tensor.dtype, 0) + tensor.num_bytes
    return ModelFiles(
        path=path,
        architecture=_architecture(config),
        model_type=model_type,
        max_model_len=_read_context(sizes, model_type),
        vocab_size=vocab_size,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        hidden_size=hidden_size,
        eos_token_ids=_token_ids(generation, text, config),
        bos_token_id=_first_int(generation.get("bos_token_id"), text.get("bos_token_id")),
        weight_bytes=sum(tensor.num_bytes for tensor in tensors),
        num_parameters=sum(tensor.num_elements for tensor in tensors),
        stored_dtype=max(dtype_bytes, key=lambda name: dtype_bytes[name]),
        sliding_window=_sliding_window(sizes, text),
        weight_files=weight_files,
    )


def read_json_object(file: Path) -> dict[str, Any]:
    """The JSON object in `file`. Raises ModelFilesError naming the file."""
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise ModelFilesError(f"{file}: larger than {MAX_JSON_BYTES} bytes")
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFilesError(f"{file}: missing") from error
    except OSError as error:
        raise ModelFilesError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ModelFilesError(f"{file}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelFilesError(f"{file}: not a JSON object")
    return value


class _Sizes:
    """Reads counts out of one config object and refuses what no model can have."""

    def __init__(self, file: Path, fields: dict[str, Any]) -> None:
        self.file = file
        self._fields = fields

    def required(self, names: tuple[str, ...], maximum: int) -> int:
        value = self.optional(names, maximum)
        if value is None:
            raise ModelFilesError(f"{self.file}: {names[0]} is missing")
        return value

    def optional(self, names: tuple[str, ...], maximum: int) -> int | None:
        for name in names:
            value = self._fields.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise ModelFilesError(f"{self.file}: {name} is {value!r}, not a whole number")
            if not 1 <= value <= maximum:
                raise ModelFilesError(f"{self.file}: {name} is {value}, outside 1 to {maximum}")
            return value
        return None


def _read_heads(sizes: _Sizes, model_type: str, hidden_size: int) -> tuple[int, int, int]:
    """Query heads, key heads and numbers per head; zeros for a family without attention."""
    if model_type in _ATTENTION_FREE:
        return 0, 0, 0
    num_heads = sizes.required(_HEAD_KEYS, _MAX_LAYERS)
    head_dim = sizes.optional(("head_dim",), _MAX_SIZE) or hidden_size // num_heads
    if head_dim < 1:
        raise ModelFilesError(f"{sizes.file}: {num_heads} heads do not fit {hidden_size} channels")
    return num_heads, sizes.optional(_KV_HEAD_KEYS, _MAX_LAYERS) or num_heads, head_dim


def _read_context(sizes: _Sizes, model_type: str) -> int:
    """The longest text in tokens."""
    length = sizes.optional(_CONTEXT_KEYS, _MAX_SIZE * 100)
    if length is None and model_type in _ATTENTION_FREE:
        return _OPEN_CONTEXT
    return length or _TRAINED_CONTEXT.get(model_type) or sizes.required(_CONTEXT_KEYS, _MAX_SIZE)


def _check_plausible(
    file: Path, tensors: list[TensorInfo], num_layers: int, vocab_size: int
) -> None:
    """Refuse sizes that the weights cannot have, before a model of these sizes is built.

    Every layer has a tensor of its own, and the embedding a row per token.
    """
    if num_layers > len(tensors):
        raise ModelFilesError(
            f"{file}: {num_layers} layers, but the weight files hold only {len(tensors)} tensors"
        )
    longest = max(max(tensor.shape, default=0) for tensor in tensors)
    if vocab_size > longest:
        raise ModelFilesError(
            f"{file}: vocab_size is {vocab_size}, but no tensor has more than {longest} rows"
        )


def _require_folder(path: Path) -> None:
    try:
        if not path.is_dir():
            raise ModelFilesError(f"{path}: no such model folder")
        next(path.iterdir(), None)
    except OSError as error:
        raise ModelFilesError(f"{path}: cannot be read: {error.strerror or error}") from error


def _architecture(config: dict[str, Any]) -> str:
    names = config.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    return str(config.get("model_type") or "unknown")


def _read_weights(path: Path) -> tuple[tuple[str, ...], list[TensorInfo]]:
    """The names of the weight files and every tensor in them."""
    index_file = path / "model.safetensors.index.json"
    if (path / "model.safetensors").is_file():
        expected: dict[str, list[str]] = {"model.safetensors": []}
    elif index_file.is_file():
        expected = _read_index(index_file)
    else:
        pickles = sorted(file.name for pattern in _PICKLE_PATTERNS for file in path.glob(pattern))
        if pickles:
            raise ModelFilesError(
                f"{path / pickles[0]}: pickle weights can run code and are refused; "
                "convert the model to safetensors"
            )
        raise ModelFilesError(f"{path / 'model.safetensors'}: missing; no safetensors weights here")
    tensors: list[TensorInfo] = []
    for name, wanted in expected.items():
        try:
            header = read_header(path / name)
        except SafetensorsError as error:
            raise ModelFilesError(str(error)) from error
        missing = sorted(set(wanted) - header.keys())
        if missing:
            raise ModelFilesError(f"{path / name}: tensor {missing[0]} of the index is missing")
        tensors.extend(header.values())
    if not tensors:
        raise ModelFilesError(f"{path}: the weight files hold no tensors")
    return tuple(expected), tensors


def _read_index(index_file: Path) -> dict[str, list[str]]:
    weight_map = read_json_object(index_file).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelFilesError(f"{index_file}: weight_map is missing or empty")
    files: dict[str, list[str]] = {}
    for tensor, name in weight_map.items():
        # A shard outside the folder would let a model read any file of the server.
        if not isinstance(name, str) or Path(name).name != name or name in {"", ".", ".."}:
            raise ModelFilesError(f"{index_file}: {name!r} is no file name of this folder")
        files.setdefault(name, []).append(tensor)
    return dict(sorted(files.items()))


def _read_generation_config(path: Path) -> dict[str, Any]:
    file = path / "generation_config.json"
    return read_json_object(file) if file.exists() else {}


def _token_ids(*configs: dict[str, Any]) -> tuple[int, ...]:
    """The end-of-text ids of the first config that names any; one id or a list of them."""
    for config in configs:
        value = config.get("eos_token_id")
        ids = value if isinstance(value, list) else [value]
        valid = tuple(i for i in ids if isinstance(i, int) and not isinstance(i, bool) and i >= 0)
        if valid:
            return valid
    return ()


def _first_int(*values: Any) -> int | None:
    return next((v for v in values if isinstance(v, int) and not isinstance(v, bool)), None)


def _sliding_window(sizes: _Sizes, text: dict[str, Any]) -> int | None:
    if text.get("use_sliding_window") is False:
        return None
    return sizes.optional(("sliding_window",), _MAX_SIZE * 100)
