"""Bytes a second through this machine's disks and network interfaces. psutil, no Django."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from monitoring.collectors.rates import RateMeter

# Traffic of containers passes their virtual interfaces and the real one: it would count twice.
_VIRTUAL = ("lo", "veth", "docker", "br-", "virbr", "cni", "flannel", "cali")


@dataclass(frozen=True, slots=True)
class DiskTraffic:
    """Bytes and operations a second of all disks; None until there is a second reading."""

    read_bytes: float | None
    write_bytes: float | None
    reads: float | None
    writes: float | None


@dataclass(frozen=True, slots=True)
class NetworkTraffic:
    """Bytes a second of all interfaces but loopback and those of containers; problems a second."""

    received_bytes: float | None
    sent_bytes: float | None
    errors: float | None
    drops: float | None


class DiskMeter:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = RateMeter(clock)

    def read(self) -> DiskTraffic | None:
        """None where the system does not count, as in some containers."""
        counters = psutil.disk_io_counters()
        if counters is None:
            return None
        rates = self._rates.per_second(
            {
                "read_bytes": counters.read_bytes,
                "write_bytes": counters.write_bytes,
                "reads": counters.read_count,
                "writes": counters.write_count,
            }
        )
        return DiskTraffic(*(rates.get(name) for name in DiskTraffic.__slots__))


class NetworkMeter:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = RateMeter(clock)

    def read(self) -> NetworkTraffic | None:
        """None where there is no interface to the outside."""
        found = psutil.net_io_counters(pernic=True)
        outside = [nic for name, nic in found.items() if not name.startswith(_VIRTUAL)]
        if not outside:
            return None
        rates = self._rates.per_second(
            {
                "received_bytes": sum(nic.bytes_recv for nic in outside),
                "sent_bytes": sum(nic.bytes_sent for nic in outside),
                "errors": sum(nic.errin + nic.errout for nic in outside),
                "drops": sum(nic.dropin + nic.dropout for nic in outside),
            }
        )
        return NetworkTraffic(*(rates.get(name) for name in NetworkTraffic.__slots__))
