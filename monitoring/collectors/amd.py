"""What AMD's GPUs do now: through the module `amdsmi` of a ROCm installation, else its program
`rocm-smi`. No Django.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from monitoring.collectors.gpu import GpuProcess, GpuUsage

_TRY_AGAIN_AFTER = 60.0
# The program takes a good part of a second of a core.
_RUN_EVERY = 10.0
_RUN_TIMEOUT = 8.0
_ROCM_SMI = (
    *("--showproductname", "--showuniqueid", "--showuse", "--showmemuse", "--showmeminfo", "vram"),
    *("--showtemp", "--showpower", "--showmaxpower", "--showclocks", "--json"),
)
_MIB = 1024 * 1024


class AmdReader:
    """Chooses at the first reading: the module where it can be imported, else the program."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._reader: AmdSmiReader | RocmSmiReader | None = None
        self._retry_at = float("-inf")
        self.reason = ""

    def read(self) -> list[GpuUsage]:
        with self._lock:
            if self._reader is None and self._clock() >= self._retry_at:
                self._reader = _choose(self._clock)
                self._retry_at = self._clock() + _TRY_AGAIN_AFTER
            if self._reader is None:
                self.reason = "neither amdsmi nor rocm-smi is installed"
                return []
            found = self._reader.read()
            self.reason = self._reader.reason
            return found


class AmdSmiReader:
    """Through `amdsmi`, whose queries raise where a device does not know them, or answer "N/A"."""

    def __init__(self, amdsmi: Any) -> None:
        self._smi = amdsmi
        self._is_open = False
        self.reason = ""

    def read(self) -> list[GpuUsage]:
        try:
            if not self._is_open:
                self._smi.amdsmi_init()
                self._is_open = True
            handles = self._smi.amdsmi_get_processor_handles()
        except self._smi.AmdSmiException as error:
            self._is_open, self.reason = False, f"amdsmi: {error}"
            return []
        self.reason = "" if handles else "no AMD GPU was found"
        return [self._read_one(index, handle) for index, handle in enumerate(handles)]

    def _read_one(self, index: int, handle: Any) -> GpuUsage:
        smi = self._smi
        asic = self._mapping("amdsmi_get_gpu_asic_info", handle)
        activity = self._mapping("amdsmi_get_gpu_activity", handle)
        memory = self._mapping("amdsmi_get_gpu_vram_usage", handle)
        power = self._mapping("amdsmi_get_power_info", handle)
        return GpuUsage(
            index=index,
            name=str(asic.get("market_name") or "AMD GPU"),
            uuid=str(self._optional("amdsmi_get_gpu_device_uuid", handle) or ""),
            utilization=_number(activity.get("gfx_activity")),
            memory_total=_mebibytes(memory.get("vram_total")),
            memory_used=_mebibytes(memory.get("vram_used")),
            temperature=self._temperature(handle),
            power=_first(power, "socket_power", "current_socket_power", "average_socket_power"),
            power_limit=_limit(_number(power.get("power_limit"))),
            clock_core=self._clock_of(handle, "GFX"),
            clock_memory=self._clock_of(handle, "MEM"),
            memory_bandwidth=_number(activity.get("umc_activity")),
            throttle_reasons=None,
            processes=self._processes(handle),
            vendor="amd",
            error="" if asic or memory or activity or smi is None else "it answers nothing",
        )

    def _temperature(self, handle: Any) -> float | None:
        smi = self._smi
        for sensor in ("HOTSPOT", "EDGE", "VRAM"):
            kind = getattr(smi.AmdSmiTemperatureType, sensor, None)
            degrees = _number(
                self._optional(
                    "amdsmi_get_temp_metric", handle, kind, smi.AmdSmiTemperatureMetric.CURRENT
                )
            )
            if degrees is not None:
                return degrees
        return None

    def _clock_of(self, handle: Any, kind: str) -> int | None:
        domain = getattr(self._smi.AmdSmiClkType, kind, None)
        clock = self._optional("amdsmi_get_clock_info", handle, domain)
        megahertz = _first(clock, "clk", "cur_clk") if isinstance(clock, Mapping) else None
        return None if megahertz is None else int(megahertz)

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...] | None:
        found = self._optional("amdsmi_get_gpu_process_list", handle)
        if found is None:
            return None
        processes = []
        for one in found:
            if isinstance(one, Mapping) and _number(one.get("pid")):
                used = _number(one.get("mem"))
                processes.append(GpuProcess(int(one["pid"]), None if used is None else int(used)))
        return tuple(processes)

    def _mapping(self, query: str, handle: Any) -> Mapping[str, Any]:
        found = self._optional(query, handle)
        return found if isinstance(found, Mapping) else {}

    def _optional(self, query: str, *arguments: Any) -> Any:
        try:
            return getattr(self._smi, query)(*arguments)
        except (self._smi.AmdSmiException, AttributeError):
            return None


class RocmSmiReader:
    """Through the program, at most every ten seconds; between its runs its last answer holds."""

    def __init__(self, program: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._program = program
        self._clock = clock
        self._run_at = float("-inf")
        self._last: list[GpuUsage] = []
        self.reason = ""

    def read(self) -> list[GpuUsage]:
        if self._clock() - self._run_at >= _RUN_EVERY:
            self._run_at = self._clock()
            self._last = self._run()
        return self._last

    def _run(self) -> list[GpuUsage]:
        try:
            done = subprocess.run(
                [self._program, *_ROCM_SMI], capture_output=True, text=True, timeout=_RUN_TIMEOUT
            )
            cards = json.loads(done.stdout)
        except (OSError, subprocess.TimeoutExpired, ValueError) as error:
            self.reason = f"rocm-smi: {type(error).__name__}"
            return []
        found = read_cards(cards) if isinstance(cards, dict) else []
        self.reason = "" if found else "no AMD GPU was found"
        return found


def read_cards(cards: Mapping[str, Any]) -> list[GpuUsage]:
    """The answer of `rocm-smi --json`; its versions write some names differently."""
    names = sorted(
        (name for name in cards if re.fullmatch(r"card\d+", name)), key=lambda name: int(name[4:])
    )
    return [_read_card(index, cards[name]) for index, name in enumerate(names)]


def _read_card(index: int, card: Mapping[str, Any]) -> GpuUsage:
    low = {str(name).lower(): value for name, value in card.items()}
    return GpuUsage(
        index=index,
        name=str(low.get("card series") or low.get("card model") or "AMD GPU"),
        uuid=str(low.get("unique id") or ""),
        utilization=_number(low.get("gpu use (%)")),
        memory_total=_whole(low.get("vram total memory (b)")),
        memory_used=_whole(low.get("vram total used memory (b)")),
        temperature=_first(
            low, "temperature (sensor junction) (c)", "temperature (sensor edge) (c)"
        ),
        power=_first(
            low,
            "current socket graphics package power (w)",
            "average graphics package power (w)",
        ),
        power_limit=_number(low.get("max graphics package power (w)")),
        clock_core=_megahertz(low.get("sclk clock speed:")),
        clock_memory=_megahertz(low.get("mclk clock speed:")),
        memory_bandwidth=_number(low.get("gpu memory read/write activity (%)")),
        vendor="amd",
    )


def _choose(clock: Callable[[], float]) -> AmdSmiReader | RocmSmiReader | None:
    # Its library may be missing or of another version, which importing it finds out.
    with contextlib.suppress(ImportError, OSError, KeyError, AttributeError):
        return AmdSmiReader(importlib.import_module("amdsmi"))
    program = shutil.which("rocm-smi")
    return None if program is None else RocmSmiReader(program, clock)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _mebibytes(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number * _MIB)


def _limit(watts: float | None) -> float | None:
    """Some versions answer microwatts."""
    return watts / 1e6 if watts is not None and watts > 100_000 else watts


def _first(found: Mapping[str, Any], *names: str) -> float | None:
    """The first of `names` that has a number; a power of 0 says that it is not measured."""
    return next((number for name in names if (number := _number(found.get(name)))), None)


def _megahertz(text: Any) -> int | None:
    match = re.search(r"(\d+)\s*mhz", str(text), re.IGNORECASE)
    return int(match[1]) if match else None
