"""What a monitor takes of a core and of memory: a process of its own, read from outside for a while.

It keeps its history in a database made for it, at one reading a second, with all its duties, while this
process counts as much as a busy portal would.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from llamagpu.lib.redis_client import sync_client
from monitoring.monitor.presence import live_monitors

#: Part of one core that a monitor may take.
TARGET = 0.01
_START_TIMEOUT = 120.0
_MANAGE = (sys.executable, str(Path(__file__).resolve().parents[2] / "manage.py"))


class MonitorUseError(Exception):
    """The monitor did not come up; the message says what it said last."""


@dataclass(frozen=True, slots=True)
class MonitorUse:
    """Over `seconds` of watching; `share` is the part of one core, of all its threads together."""

    seconds: float
    cpu_seconds: float
    share: float
    resident_bytes: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_monitor(seconds: float, every_second: Callable[[], object]) -> MonitorUse:
    """To be run inside `own_servers`; `every_second` makes what there is to be measured.

    Raises MonitorUseError.
    """
    with tempfile.TemporaryDirectory(prefix="llamagpu-monitor-") as folder:
        environment = {
            **os.environ,
            "LLAMA_DATA_DIR": folder,
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            "REDIS_URL": settings.REDIS_URL,
            "LLAMA_METRICS_INTERVAL": "1",
        }
        _run("migrate", environment)
        process = subprocess.Popen((*_MANAGE, "monitor"), env=environment)
        try:
            _wait_for_reports(process)
            return _watch(psutil.Process(process.pid), seconds, every_second)
        finally:
            process.terminate()
            process.wait(30)


def _watch(
    process: psutil.Process, seconds: float, every_second: Callable[[], object]
) -> MonitorUse:
    began, before = time.monotonic(), _cpu_seconds(process)
    while (left := began + seconds - time.monotonic()) > 0:
        every_second()
        time.sleep(min(1.0, left))
    elapsed, used = time.monotonic() - began, _cpu_seconds(process) - before
    return MonitorUse(elapsed, used, used / elapsed, process.memory_info().rss)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _run(command: str, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        (*_MANAGE, command), env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MonitorUseError(f"manage.py {command} failed: {done.stderr.strip()[-300:]}")


def _wait_for_reports(process: subprocess.Popen[bytes]) -> None:
    """Until it samples and leads: what it does at its start is not counted."""
    client, deadline = sync_client(settings.REDIS_URL), time.monotonic() + _START_TIMEOUT
    while not any(report and report.is_leader for report in live_monitors(client).values()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise MonitorUseError("the monitor does not report")
        time.sleep(0.1)
