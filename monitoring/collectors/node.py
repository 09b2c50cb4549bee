"""Everything about this machine in one reading. No Django."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monitoring.collectors.amd import AmdReader
from monitoring.collectors.container import ContainerMeter, ContainerUsage
from monitoring.collectors.gpu import GpuReader, GpuReaders, GpuUsage
from monitoring.collectors.host import (
    CpuMeter,
    CpuUsage,
    DiskUsage,
    MemoryUsage,
    SwapUsage,
    read_disk,
    read_memory,
    read_swap,
)
from monitoring.collectors.processes import ProcessReader, ProcessUsage
from monitoring.collectors.traffic import DiskMeter, DiskTraffic, NetworkMeter, NetworkTraffic

# Space changes slowly, and asking a network file system may take its time.
_DISKS_EVERY = 5.0


@dataclass(frozen=True, slots=True)
class NodeReading:
    """One look at a machine. What it does not have or tell is None; `gpu_reason` says why no GPU."""

    unix: float
    cpu: CpuUsage
    memory: MemoryUsage
    swap: SwapUsage
    disks: tuple[DiskUsage, ...]
    disk_traffic: DiskTraffic | None
    network: NetworkTraffic | None
    container: ContainerUsage | None
    gpus: tuple[GpuUsage, ...]
    gpu_reason: str
    processes: tuple[ProcessUsage, ...]


class NodeReader:
    """Reads this machine. `folders` are those whose file systems count, the data directory first."""

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        root: int | None = None,
        gpus: GpuReaders | None = None,
    ) -> None:
        self._folders = folders
        self._cpu = CpuMeter()
        self._disk, self._network = DiskMeter(), NetworkMeter()
        self._container = ContainerMeter()
        self._gpus = gpus or GpuReaders([GpuReader(), AmdReader()])
        self._processes = ProcessReader(root)
        self._disks: tuple[DiskUsage, ...] = ()
        self._disks_at = float("-inf")

    def read(self) -> NodeReading:
        gpus = tuple(self._gpus.read())
        return NodeReading(
            unix=time.time(),
            cpu=self._cpu.read(),
            memory=read_memory(),
            swap=read_swap(),
            disks=self._spaces(),
            disk_traffic=self._disk.read(),
            network=self._network.read(),
            container=self._container.read(),
            gpus=gpus,
            gpu_reason="" if gpus else self._gpus.reason or "no GPU was found",
            processes=tuple(self._processes.read()),
        )

    def _spaces(self) -> tuple[DiskUsage, ...]:
        if time.monotonic() - self._disks_at >= _DISKS_EVERY:
            self._disks_at = time.monotonic()
            found: dict[int, DiskUsage] = {}
            for folder in self._folders:
                try:
                    found.setdefault(folder.stat().st_dev, read_disk(folder))
                except OSError:
                    continue  # it is not mounted: the others are told all the same
            self._disks = tuple(found.values())
        return self._disks
