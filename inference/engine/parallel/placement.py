"""Pipeline placement: a model's layers over several devices, each with its own part of the cache.

A step passes the devices one after the other; nothing is computed twice and no rank is needed.
It makes models fit that one device cannot hold; for speed, split every layer (tensor parallelism).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from inference.engine.errors import LoadError


def split_layers(num_layers: int, rooms: Sequence[int]) -> list[int]:
    """The device of each layer: stretches in order, in proportion to `rooms` (bytes that are free).

    Every device gets a layer. Raises LoadError for more devices than layers.
    """
    if not rooms or num_layers < len(rooms):
        raise LoadError(f"{num_layers} layers cannot be placed on {len(rooms)} devices")
    total = sum(rooms)
    places: list[int] = []
    reached = 0
    for index, room in enumerate(rooms):
        reached += room
        # Those before have at least one each, and one is left for each device after this.
        end = round(num_layers * reached / total) if total else 0
        end = max(len(places) + 1, min(end, num_layers - (len(rooms) - 1 - index)))
        end = num_layers if index == len(rooms) - 1 else end
        places += [index] * (end - len(places))
    return places


def layer_list(model: torch.nn.Module, num_layers: int) -> tuple[str, torch.nn.ModuleList]:
    """The name and the list of a model's decoder layers. Raises LoadError where there is none."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == num_layers:
            return name, module
    raise LoadError(f"{type(model).__name__} has no list of its {num_layers} layers")


def build_device_map(
    model: torch.nn.Module, places: Sequence[int], devices: Sequence[torch.device]
) -> dict[str, torch.device]:
    """transformers' `device_map` for a model (which may be on the meta device).

    What comes before the layers goes to the first device, what comes after to the last, except for
    a head that shares the embedding's weights.
    """
    prefix, _ = layer_list(model, len(places))
    first, last = devices[0], devices[-1]
    result: dict[str, torch.device] = {}
    tied = _tied_modules(model)
    before = True
    for name in _modules_outside(model, prefix):
        if name == prefix:
            before = False
            for index, place in enumerate(places):
                result[f"{prefix}.{index}"] = devices[place]
        else:
            # Rotary embeddings are defined after the layers but computed before them.
            is_early = before or name in tied or "rotary" in name
            result[name] = first if is_early else last
    return result


def devices_of_layers(
    model: Any, num_layers: int, default: torch.device
) -> list[torch.device] | None:
    """Where each layer of a loaded model is; None for a model on one device."""
    placed: Mapping[str, Any] | None = getattr(model, "hf_device_map", None)
    if not placed or len(set(map(str, placed.values()))) < 2:
        return None
    prefix, _ = layer_list(model, num_layers)
    return [_as_device(placed.get(f"{prefix}.{i}", default)) for i in range(num_layers)]


def _as_device(place: Any) -> torch.device:
    return torch.device("cuda", place) if isinstance(place, int) else torch.device(place)


def _modules_outside(model: torch.nn.Module, prefix: str) -> list[str]:
    """The largest modules that do not hold the layers, in order, and the layers' list itself."""
    names: list[str] = []

    def visit(module: torch.nn.Module, path: str) -> None:
        for name, child in module.named_children():
            full = f"{path}{name}"
            if prefix.startswith(f"{full}."):
                visit(child, f"{full}.")
            else:
                names.append(full)

    visit(model, "")
    return names


def _tied_modules(model: torch.nn.Module) -> set[str]:
    """Modules whose weights are those of the input embedding."""
    keys = getattr(model, "_tied_weights_keys", None) or {}
    if not getattr(getattr(model, "config", None), "tie_word_embeddings", False):
        return set()
    return {str(key).rsplit(".", 1)[0] for key in keys}


def pipeline_placement(
    path: Path, num_layers: int, devices: Sequence[torch.device], rooms: Sequence[int]
) -> dict[str, Any]:
    """What `from_pretrained` is told to spread the model in `path` over `devices`.

    `rooms` are the bytes that are free on each. Raises LoadError.
    """
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    places = split_layers(num_layers, rooms)
    return {"device_map": build_device_map(model, places, devices)}
