"""One small forward pass that learns how a model attends, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from inference.engine.attention import AttentionHook, LayerRule
from inference.engine.errors import LoadError, NotPackableError
from inference.engine.kv_cache.base import LayerShape

_PROBE_TOKENS = 4


@dataclass(frozen=True, slots=True)
class ProbedLayer:
    """An attention layer as it called: its cache's shape, its window in tokens, its softcap."""

    shape: LayerShape
    window: int | None
    softcap: float | None = None
    num_heads: int = 0


class _Recorder:
    """Stands in for attention: notes each call, answers zeros of the right shape."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ProbedLayer]] = []

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rule: LayerRule,
    ) -> torch.Tensor:
        shape = LayerShape(key.shape[1], key.shape[2], value.shape[2])
        probed = ProbedLayer(shape, rule.window, rule.softcap, query.shape[1])
        self.calls.append((layer, probed))
        if query.shape[1] % key.shape[1]:
            raise LoadError(f"layer {layer}: {query.shape[1]} heads over {key.shape[1]} kv heads")
        return query.new_zeros(query.shape[0], query.shape[1], value.shape[2])


def probe_layers(
    model: Any, path: Path, device: torch.device
) -> tuple[AttentionHook, tuple[ProbedLayer, ...]]:
    """Hook `model` and list its attention layers in order.

    Raises NotPackableError where the model does not attend once in each of its layers.
    """
    recorder = _Recorder()
    hook = AttentionHook(recorder)
    hook.install(model)
    row = torch.arange(_PROBE_TOKENS, device=device)[None]
    try:
        with torch.inference_mode():
            model(
                input_ids=row % model.config.get_text_config().vocab_size,
                position_ids=row,
                use_cache=False,
                logits_to_keep=torch.tensor([0], device=device),
            )
    except LoadError as error:
        raise NotPackableError(f"{path}: {error.message}") from error
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # The model's own code fails on a packed row: whatever it raises, it cannot be served.
        raise NotPackableError(f"{path}: cannot run a packed row of tokens: {error}") from error
    indices = [index for index, _ in recorder.calls]
    num_layers = model.config.get_text_config().num_hidden_layers
    if indices != list(range(num_layers)):
        raise NotPackableError(
            f"{path}: {type(model).__name__} attends in {len(set(indices))} of its {num_layers} "
            "layers through transformers' attention interface"
        )
    return hook, tuple(layer for _, layer in recorder.calls)
