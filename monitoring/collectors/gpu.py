"""What the GPUs of this machine do now. No Django.

NVIDIA's are read through NVML: the module `pynvml` comes from the distribution nvidia-ml-py. AMD's are
read by `monitoring.collectors.amd`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pynvml

# How long a driver that was not there is left alone: looking for its library each second costs.
_TRY_AGAIN_AFTER = 60.0
# What slows the clocks, by the name of NVML's constant behind `nvmlClocksThrottleReason`.
_THROTTLE_REASONS = {
    "GpuIdle": "idle",
    "ApplicationsClocksSetting": "application clocks",
    "SwPowerCap": "power limit",
    "HwSlowdown": "hardware slowdown",
    "SyncBoost": "sync boost",
    "SwThermalSlowdown": "temperature (software)",
    "HwThermalSlowdown": "temperature (hardware)",
    "HwPowerBrakeSlowdown": "power brake",
    "DisplayClockSetting": "display clocks",
}


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on a GPU. Bytes; None where the driver does not tell."""

    pid: int
    memory: int | None


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """One GPU. A figure that the driver does not give is None. Bytes, percent, °C, watts, MHz.

    `throttle_reasons` are empty where nothing slows it; `error` says why a GPU cannot be read.
    """

    index: int
    name: str
    uuid: str
    utilization: float | None
    memory_total: int | None
    memory_used: int | None
    temperature: float | None
    power: float | None
    power_limit: float | None = None
    clock_core: int | None = None
    clock_memory: int | None = None
    memory_bandwidth: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    processes: tuple[GpuProcess, ...] | None = None
    vendor: str = "nvidia"
    error: str = ""

    @property
    def memory_usage(self) -> float | None:
        """Percent of its memory."""
        if self.memory_used is None or not self.memory_total:
            return None
        return round(100 * self.memory_used / self.memory_total, 1)


class Reader(Protocol):
    """Reads one vendor's GPUs. `reason` says why there is nothing to read."""

    reason: str

    def read(self) -> list[GpuUsage]: ...


class GpuReader:
    """NVIDIA's. Opens NVML once, and again after the driver has gone."""

    def __init__(self, nvml: Any = pynvml, clock: Callable[[], float] = time.monotonic) -> None:
        self._nvml = nvml
        self._clock = clock
        self._lock = threading.Lock()
        self._is_open = False
        self._retry_at = float("-inf")
        self.reason = ""

    def read(self) -> list[GpuUsage]:
        """The GPUs, none where there is no driver or no device."""
        with self._lock:
            if not self._open():
                return []
            try:
                count = self._nvml.nvmlDeviceGetCount()
            except self._nvml.NVMLError as error:
                self._is_open, self.reason = False, str(error)
                return []
            self.reason = "" if count else "no NVIDIA GPU was found"
            return [self._read_one(index) for index in range(count)]

    def _open(self) -> bool:
        if self._is_open:
            return True
        if self._clock() < self._retry_at:
            return False
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            self.reason = str(error)
            self._retry_at = self._clock() + _TRY_AGAIN_AFTER
            return False
        self._is_open = True
        return True

    def _read_one(self, index: int) -> GpuUsage:
        """One that is lost or being reset hides none of the others."""
        try:
            return self._read_handle(index, self._nvml.nvmlDeviceGetHandleByIndex(index))
        except self._nvml.NVMLError as error:
            return GpuUsage(index, "", "", None, None, None, None, None, error=str(error))

    def _read_handle(self, index: int, handle: Any) -> GpuUsage:
        nvml = self._nvml
        memory = self._optional("nvmlDeviceGetMemoryInfo", handle)
        rates = self._optional("nvmlDeviceGetUtilizationRates", handle)
        return GpuUsage(
            index=index,
            name=_text(nvml.nvmlDeviceGetName(handle)),
            uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
            utilization=None if rates is None else float(rates.gpu),
            memory_total=None if memory is None else int(memory.total),
            memory_used=None if memory is None else int(memory.used),
            temperature=self._optional("nvmlDeviceGetTemperature", handle, 0),
            power=_watts(self._optional("nvmlDeviceGetPowerUsage", handle)),
            power_limit=_watts(self._optional("nvmlDeviceGetEnforcedPowerLimit", handle)),
            clock_core=self._clock_of(handle, "NVML_CLOCK_SM"),
            clock_memory=self._clock_of(handle, "NVML_CLOCK_MEM"),
            memory_bandwidth=None if rates is None else float(rates.memory),
            throttle_reasons=self._throttle_reasons(handle),
            processes=self._processes(handle),
        )

    def _clock_of(self, handle: Any, kind: str) -> int | None:
        return self._optional("nvmlDeviceGetClockInfo", handle, getattr(self._nvml, kind, None))

    def _throttle_reasons(self, handle: Any) -> tuple[str, ...] | None:
        bits = self._optional("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        if bits is None:
            return None
        masks = {
            said: getattr(self._nvml, f"nvmlClocksThrottleReason{name}", 0)
            for name, said in _THROTTLE_REASONS.items()
        }
        return tuple(said for said, mask in masks.items() if bits & mask and said != "idle")

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...] | None:
        found = self._optional("nvmlDeviceGetComputeRunningProcesses", handle)
        if found is None:
            return None
        return tuple(GpuProcess(int(one.pid), one.usedGpuMemory) for one in found)

    def _optional(self, query: str, *arguments: Any) -> Any:
        """None where this driver or this device does not know the query."""
        try:
            return getattr(self._nvml, query)(*arguments)
        except (self._nvml.NVMLError, AttributeError):
            return None


class GpuReaders:
    """Every vendor's in one list. `reason` is what each reader says where there is no GPU."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._readers = readers

    def read(self) -> list[GpuUsage]:
        return [gpu for reader in self._readers for gpu in reader.read()]

    @property
    def reason(self) -> str:
        return "; ".join(reader.reason for reader in self._readers if reader.reason)


def _text(value: Any) -> str:
    """Older drivers' bindings answer bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _watts(milliwatts: Any) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
