"""From a folder to a model that is known to attend the way this engine computes.

transformers builds the model; no code of the model's own is ever run and no pickle read. Then the
model is probed: one small forward pass records every attention layer. What the packed row cannot
serve (state outside attention, masks of its own, layers that share a cache) is refused by
`load_model` with its name rather than answered wrongly, and left to `load_serial_model`.

Weights are memory-mapped. In the stored type they stay views of the file (measured on SmolLM2-135M
in float16: 129 MB more resident after loading, of which the 269 MB of weights are pages of the file
that come when they are first read and that the system can drop). In another type there is one copy,
converted tensor by tensor; the file's pages show in the resident size meanwhile (1,114 MB at the
peak, 859 MB afterwards), but they are the system's to take back: no second copy is ever held.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_utils import AttentionInterface

from inference.engine.attention import ATTENTION_NAME, AttentionHook, LayerRule, attend
from inference.engine.errors import EngineError, LoadError, NotPackableError
from inference.engine.probe import ProbedLayer, probe_layers
from inference.model_files import ModelFiles, ModelFilesError, read_model_files
from inference.tokenizer import Tokenizer, TokenizerError

logger = logging.getLogger(__name__)
Progress = Callable[[str, float], None]

_LAYER_TYPES = frozenset({"full_attention", "sliding_attention"})
# RoPE variants whose frequencies change with the longest position in the forward pass: packed rows
# would change each other, and cached keys would keep the old frequencies.
_LENGTH_DEPENDENT_ROPE = frozenset({"longrope", "dynamic"})


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory, its attention layers, and the folder's facts.

    `serial_reason` says why it can only be served one sequence at a time, and is empty where it is
    packed; `hook` and `layers` mean nothing where it is not.
    """

    model: Any
    hook: AttentionHook
    layers: tuple[ProbedLayer, ...]
    files: ModelFiles
    tokenizer: Tokenizer
    dtype: torch.dtype
    device: torch.device
    max_model_len: int
    serial_reason: str = ""

    @property
    def is_serial(self) -> bool:
        return bool(self.serial_reason)


def load_model(
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    progress: Progress,
    placement: dict[str, Any] | None = None,
) -> LoadedModel:
    """Load the model in folder `path` for packed rows.

    Raises LoadError naming the file and the reason, NotPackableError where only `load_serial_model`
    may serve it. `placement` is what `from_pretrained` is told where not all of the model goes to `device`.
    """
    files, tokenizer, config = _read_all_but_weights(path, progress)
    max_model_len = _check_packable(path, config, files)
    progress("weights", 0.0)
    AttentionInterface.register(ATTENTION_NAME, attend)
    model = _build_model(path, config, device, dtype, placement, ATTENTION_NAME)
    if getattr(model, "_is_stateful", False):
        raise NotPackableError(f"{path}: {type(model).__name__} keeps a recurrent state")
    progress("weights", 1.0)
    hook, layers = probe_layers(model, path, device)
    _check_windows(path, config, layers, max_model_len)
    return LoadedModel(model, hook, layers, files, tokenizer, dtype, device, max_model_len)


def load_serial_model(
    path: Path, device: torch.device, dtype: torch.dtype, progress: Progress, reason: str
) -> LoadedModel:
    """Load the model in folder `path` with its own attention, for one sequence at a time.

    `reason` is why packed rows cannot serve it. Raises LoadError naming the file and the reason.
    """
    files, tokenizer, config = _read_all_but_weights(path, progress)
    progress("weights", 0.0)
    model = _build_model(path, config, device, dtype, None, None)
    progress("weights", 1.0)
    hook = AttentionHook(NoTarget())
    length = files.max_model_len
    return LoadedModel(model, hook, (), files, tokenizer, dtype, device, length, reason)


class NoTarget:
    """Stands where a serial model, which attends in its own way, has nothing to be hooked to."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rule: LayerRule,
    ) -> torch.Tensor:
        raise RuntimeError("a serial model attends by itself")


def _read_all_but_weights(path: Path, progress: Progress) -> tuple[ModelFiles, Tokenizer, Any]:
    """The facts, the tokenizer and transformers' configuration of folder `path`."""
    progress("check", 0.0)
    try:
        files = read_model_files(path)
        tokenizer = Tokenizer.load(path)
    except (ModelFilesError, TokenizerError) as error:
        raise LoadError(str(error)) from error
    config = _read_config(path)
    progress("check", 1.0)
    return files, tokenizer, config


def _read_config(path: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        # transformers raises many types for a config that it cannot use.
        raise LoadError(f"{path / 'config.json'}: {_one_line(error)}") from error


def _check_packable(path: Path, config: Any, files: ModelFiles) -> int:
    """Refuse what packed rows cannot compute; the context length that they can."""
    text = config.get_text_config()
    file = path / "config.json"
    kinds = set(getattr(text, "layer_types", None) or ())
    if strange := sorted(kinds - _LAYER_TYPES):
        raise NotPackableError(f"{file}: {files.model_type} has layers of type {strange[0]}")
    if getattr(text, "num_kv_shared_layers", 0):
        raise NotPackableError(f"{file}: {files.model_type} shares caches between layers")
    rope = getattr(text, "rope_parameters", None) or {}
    rope_types = {rope.get("rope_type")} | {
        item.get("rope_type") for item in rope.values() if isinstance(item, dict)
    }
    if not rope_types & _LENGTH_DEPENDENT_ROPE:
        return files.max_model_len
    original = rope.get("original_max_position_embeddings") or getattr(
        text, "original_max_position_embeddings", None
    )
    length = min(files.max_model_len, original or files.max_model_len)
    logger.warning("%s: the context is %d tokens, without RoPE scaling beyond it", path, length)
    return length


def _build_model(
    path: Path,
    config: Any,
    device: torch.device,
    dtype: torch.dtype,
    placement: dict[str, Any] | None,
    attention: str | None,
) -> Any:
    if placement is None:
        placement = {"device_map": {"": device} if device.type != "cpu" else None}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **placement,
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except EngineError:
        raise
    except Exception as error:
        # transformers and safetensors raise many types; all mean that this folder does not load.
        message = _one_line(error)
        if attention is not None and "AttentionInterface" in message:
            raise NotPackableError(
                f"{path}: this family does not use transformers' attention interface"
            ) from error
        if "ignore_mismatched_sizes" in message:
            message = "the weights do not have the shapes that config.json asks for"
        raise LoadError(f"{path}: {message}") from error
    model, info = loaded
    for kind in ("missing_keys", "mismatched_keys"):
        if names := sorted(str(name) for name in info.get(kind, ())):
            raise LoadError(
                f"{path}: the weights lack {names[0]} in the shape that config.json asks for"
                f" ({len(names)} such tensors)"
            )
    model.eval()
    model.requires_grad_(False)
    return model


def _check_windows(
    path: Path, config: Any, layers: tuple[ProbedLayer, ...], max_model_len: int
) -> None:
    """A window that the config names must have reached the attention calls."""
    text = config.get_text_config()
    num_windows = sum(layer.window is not None for layer in layers)
    kinds = getattr(text, "layer_types", None)
    if kinds:
        expected = sum(kind == "sliding_attention" for kind in kinds)
        window = getattr(text, "sliding_window", None) or max_model_len
        # Families differ in whether a full layer also hands a window on; too few is the danger.
        if num_windows < expected and window < max_model_len:
            raise NotPackableError(
                f"{path}: the sliding windows of {expected} layers are not handed on"
            )
        return
    window = getattr(text, "sliding_window", None)
    is_used = getattr(text, "use_sliding_window", True)
    if window is not None and is_used and window < max_model_len and num_windows == 0:
        raise NotPackableError(f"{path}: the sliding window of {window} tokens is not handed on")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def quieten_transformers() -> None:
    """No progress bars and no advice on the engine's stderr."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
