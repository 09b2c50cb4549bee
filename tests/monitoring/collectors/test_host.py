from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from monitoring.collectors import traffic
from monitoring.collectors.host import CpuMeter, read_disk, read_memory, read_swap
from monitoring.collectors.rates import RateMeter
from monitoring.collectors.traffic import DiskMeter, NetworkMeter


def nic(*, sent: int = 0, received: int = 0) -> SimpleNamespace:
    problems = {"errin": 0, "errout": 0, "dropin": 0, "dropout": 0}
    return SimpleNamespace(bytes_sent=sent, bytes_recv=received, **problems)


def test_the_first_reading_of_the_processor_is_measured_too() -> None:
    usage = CpuMeter().read()
    assert 0 <= usage.usage <= 100
    assert usage.count == psutil.cpu_count()


def test_every_core_is_told_and_the_whole_is_their_mean() -> None:
    usage = CpuMeter().read()
    assert len(usage.cores) == usage.count
    assert usage.usage == pytest.approx(sum(usage.cores) / len(usage.cores), abs=0.06)


def test_memory_adds_up() -> None:
    memory = read_memory()
    assert 0 < memory.available < memory.total
    assert memory.limit is None or memory.limit < memory.total


def test_swap_is_told_even_where_there_is_none() -> None:
    swap = read_swap()
    assert swap.total == psutil.swap_memory().total
    assert 0 <= swap.used <= swap.total


def test_the_disk_is_the_one_that_holds_the_path(tmp_path: Path) -> None:
    disk = read_disk(tmp_path)
    assert disk.total == psutil.disk_usage(str(tmp_path)).total


def test_a_rate_is_the_growth_over_the_time_between() -> None:
    now = [10.0]
    meter = RateMeter(clock=lambda: now[0])
    assert meter.per_second({"bytes": 1000}) == {}
    now[0] = 14.0
    assert meter.per_second({"bytes": 3000, "new": 5}) == {"bytes": 500.0}


def test_a_counter_that_went_back_has_no_rate_for_once() -> None:
    now = [0.0]
    meter = RateMeter(clock=lambda: now[0])
    meter.per_second({"bytes": 1000})
    now[0] = 1.0
    assert meter.per_second({"bytes": 10}) == {}
    now[0] = 2.0
    assert meter.per_second({"bytes": 30}) == {"bytes": 20.0}


def test_the_first_reading_of_a_disk_has_no_rate_yet() -> None:
    meter = DiskMeter()
    first = meter.read()
    assert first is None or first.write_bytes is None
    second = meter.read()
    assert second is None or second.write_bytes is not None


def test_traffic_of_containers_and_of_loopback_is_not_counted_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, eth = [0.0], [100]

    def counters(pernic: bool) -> dict[str, object]:
        return {
            "lo": nic(sent=9999 * int(now[0])),
            "veth12": nic(received=10**6 * int(now[0])),
            "eth0": nic(sent=50 * int(now[0]), received=eth[0]),
        }

    monkeypatch.setattr(traffic.psutil, "net_io_counters", counters)
    meter = NetworkMeter(clock=lambda: now[0])
    meter.read()
    now[0], eth[0] = 2.0, 500
    measured = meter.read()
    assert measured is not None
    assert (measured.received_bytes, measured.sent_bytes, measured.errors) == (200.0, 50.0, 0.0)
