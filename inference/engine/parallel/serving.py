"""One model over several ranks: the same steps in every one of them, planned by rank 0."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from inference.engine.config import EngineConfig
from inference.engine.errors import LoadError
from inference.engine.kv_cache.base import KVCache
from inference.engine.loading import LoadedModel, Progress, load_model, quieten_transformers
from inference.engine.memory import available_bytes
from inference.engine.paged.rows import PagedRows
from inference.engine.paged.runner import PagedModelRunner
from inference.engine.paged.serving import PagedServing, build_paged
from inference.engine.parallel.commands import Command
from inference.engine.parallel.group import RankPlace, join, smallest
from inference.engine.parallel.peers import Peers, environment_threads
from inference.engine.parallel.sharding import check_shards, shard_placement
from inference.engine.self_test import check_attention, run_reference
from inference.engine.step_plan import StepPlan
from inference.model_files import ModelFiles


@dataclass(frozen=True, slots=True)
class RankSpec:
    """What a rank must know to load its part."""

    path: Path
    dtype: torch.dtype
    config: EngineConfig
    place: RankPlace

    def to_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "dtype": str(self.dtype).removeprefix("torch."),
            "config": dataclasses.asdict(self.config),
            "rank": self.place.rank,
            "device": str(self.place.device),
            "meeting_point": str(self.place.meeting_point),
        }


def spec_from_json(spec: dict[str, Any]) -> RankSpec:
    """The inverse of `RankSpec.to_json`."""
    settings = {**spec["config"], "devices": tuple(spec["config"]["devices"])}
    config = EngineConfig(**settings)
    place = RankPlace(
        spec["rank"],
        config.tensor_parallel,
        torch.device(spec["device"]),
        Path(spec["meeting_point"]),
    )
    return RankSpec(Path(spec["path"]), getattr(torch, spec["dtype"]), config, place)


@dataclass(frozen=True, slots=True)
class Ranked:
    """One rank's part of the model, ready to compute."""

    loaded: LoadedModel
    serving: PagedServing

    def follow(self, command: Command, numbers: list[int]) -> torch.Tensor | None:
        """Do what rank 0 does at the same time; the result is the same in every rank."""
        if command is Command.STEP:
            return self.serving.runner.compute(PagedRows.decode(numbers))
        if command is Command.REFERENCE:
            return run_reference(self.loaded, numbers)
        self.serving.runner.cache.zero_pages(numbers)
        return None


def build_rank(spec: RankSpec, progress: Progress = lambda stage, fraction: None) -> Ranked:
    """Load a part and reserve its cache; all ranks do it at the same time. Raises LoadError."""
    quieten_transformers()
    place, config = spec.place, spec.config
    torch.set_num_threads(config.num_threads or environment_threads(place.size))
    join(place)
    placement = shard_placement(place.size)
    loaded = load_model(spec.path, place.device, spec.dtype, progress, placement)
    serving = build_paged(
        loaded,
        config,
        lambda device: _free_bytes(device, place.size),
        agree=lambda numbers: smallest(numbers, place.device),
    )
    return Ranked(loaded, serving)


class RankedRunner:
    """Rank 0's runner: tells the others, then computes its own part."""

    def __init__(self, ranked: Ranked, peers: Peers) -> None:
        self._ranked = ranked
        self._peers = peers
        self._runner: PagedModelRunner = ranked.serving.runner
        self._cache = _RankedCache(self)

    @property
    def cache(self) -> KVCache:
        return self._cache

    @property
    def supports_drafts(self) -> bool:
        return self._runner.supports_drafts

    @property
    def rounds_alike(self) -> bool:
        return self._runner.rounds_alike

    @property
    def hidden_size(self) -> int | None:
        return self._runner.hidden_size

    @property
    def hidden(self) -> torch.Tensor:
        return self._runner.hidden

    def run(self, plan: StepPlan) -> torch.Tensor:
        """As `PagedModelRunner.run`. Raises DeviceLost where a rank is gone."""
        # Between layers every rank has the whole of the hidden states.
        self._runner.states.expect(plan.pooled_rows)
        logits = self._together(Command.STEP, self._runner.rows_of(plan).encode())
        if logits is None:
            raise RuntimeError("a step gave no logits")
        return logits

    def reference(self, token_ids: list[int]) -> torch.Tensor:
        """The last token's logits by transformers' own attention."""
        logits = self._together(Command.REFERENCE, token_ids)
        if logits is None:
            raise RuntimeError("the reference gave no logits")
        return logits

    def zero(self, slot: int, num_tokens: int) -> None:
        """Overwrite what only this slot reads, in every rank."""
        pages = self._ranked.serving.accounting.private_pages(slot, num_tokens)
        self._together(Command.ZERO, pages)

    @property
    def num_bytes(self) -> int:
        return self._runner.cache.num_bytes

    def _together(self, command: Command, numbers: list[int]) -> torch.Tensor | None:
        self._peers.tell(command, numbers)
        return self._ranked.follow(command, numbers)


class _RankedCache(KVCache):
    """The caches of all ranks; `num_bytes` are those of one."""

    def __init__(self, runner: RankedRunner) -> None:
        self._runner = runner

    @property
    def num_bytes(self) -> int:
        return self._runner.num_bytes

    def scrub(self, slot: int, num_tokens: int) -> None:
        self._runner.zero(slot, num_tokens)


def serve_ranks(
    files: ModelFiles,
    config: EngineConfig,
    device: torch.device,
    dtype: torch.dtype,
    progress: Progress,
) -> tuple[Ranked, RankedRunner]:
    """Start the other ranks, load this one, prove attention. Raises LoadError.

    Afterwards the death of a rank ends this process.
    """
    size = config.tensor_parallel
    hf_config = AutoConfig.from_pretrained(files.path, local_files_only=True)
    check_shards(files, hf_config, size, device)
    peers = Peers()
    try:
        specs = [
            RankSpec(
                files.path,
                dtype,
                config,
                RankPlace(rank, size, _device_of(config, device, rank), peers.meeting_point),
            )
            for rank in range(size)
        ]
        peers.start([spec.to_json() for spec in specs[1:]])
        ranked = build_rank(specs[0], progress)
        runner = RankedRunner(ranked, peers)
        progress("self-test", 0.0)
        _self_test(ranked, runner)
        progress("self-test", 1.0)
    except BaseException:
        peers.stop()
        raise
    peers.ready()
    return ranked, runner


def _self_test(ranked: Ranked, runner: RankedRunner) -> None:
    accounting = ranked.serving.accounting
    place = accounting.allocate(1)
    if place is None:
        raise RuntimeError("an empty cache has no place")
    try:
        check_attention(ranked.loaded, runner, slot=place.slot, reference=runner.reference)
    finally:
        accounting.free(place.slot)


def _device_of(config: EngineConfig, device: torch.device, rank: int) -> torch.device:
    """The device of a rank: the settings' or the one of its number; all ranks share a CPU."""
    if device.type != "cuda":
        return device
    index = config.devices[rank] if config.devices else rank
    if index >= torch.cuda.device_count():
        raise LoadError(
            f"rank {rank} has no device: there are {torch.cuda.device_count()}, number {index} is asked"
        )
    return torch.device("cuda", index)


def _free_bytes(device: torch.device, num_ranks: int) -> int | None:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = available_bytes()
    return None if free is None else free // num_ranks
