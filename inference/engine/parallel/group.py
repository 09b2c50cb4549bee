"""The ranks of one engine as torch.distributed sees them: joining, and coming to one figure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed

# How long a rank waits for another one inside a step: loading, which reads from slow disks, counts.
_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class RankPlace:
    """One rank: its number of how many, its device, and the file through which all find each other."""

    rank: int
    size: int
    device: torch.device
    meeting_point: Path


def join(place: RankPlace) -> None:
    """Meet the other ranks; returns when all are there. Raises RuntimeError where one stays away."""
    index = place.device.index or 0
    # transformers reads the rank's device from the environment that launchers set.
    os.environ.update(
        RANK=str(place.rank), WORLD_SIZE=str(place.size), LOCAL_RANK=str(index), LOCAL_SIZE="1"
    )
    if place.device.type == "cuda":
        torch.cuda.set_device(place.device)
    else:
        # All ranks are on this machine; the host's name may not resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group(
        backend="nccl" if place.device.type == "cuda" else "gloo",
        init_method=f"file://{place.meeting_point}",
        rank=place.rank,
        world_size=place.size,
        timeout=_TIMEOUT,
        device_id=place.device if place.device.type == "cuda" else None,
    )


def smallest(numbers: list[int], device: torch.device) -> list[int]:
    """The smallest of each number over all ranks, which all call this at the same point."""
    values = torch.tensor(numbers, dtype=torch.int64, device=device)
    torch.distributed.all_reduce(values, op=torch.distributed.ReduceOp.MIN)
    return [int(value) for value in values.tolist()]
