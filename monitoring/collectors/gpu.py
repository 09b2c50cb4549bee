"""What the NVIDIA GPUs of this machine do now, through NVML. No Django.

The module `pynvml` comes from the distribution nvidia-ml-py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """One GPU. A figure that the driver does not give is None. Bytes, percent, °C, watts."""

    index: int
    name: str
    uuid: str
    utilization: float | None
    memory_total: int | None
    memory_used: int | None
    temperature: float | None
    power: float | None


class GpuReader:
    """Opens NVML once. `reason` says why there is nothing to read."""

    def __init__(self, nvml: Any = pynvml) -> None:
        self._nvml = nvml
        self._lock = threading.Lock()
        self._is_open = False
        self.reason = ""

    def read(self) -> list[GpuUsage]:
        """The GPUs, none where there is no driver or no device."""
        with self._lock:
            if not self._open():
                return []
            try:
                return [self._read_one(index) for index in range(self._nvml.nvmlDeviceGetCount())]
            except self._nvml.NVMLError as error:
                self.reason = str(error)
                return []

    def _open(self) -> bool:
        if self._is_open:
            return True
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            self.reason = str(error)
            return False
        self._is_open = True
        self.reason = ""
        return True

    def _read_one(self, index: int) -> GpuUsage:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = self._optional(nvml.nvmlDeviceGetMemoryInfo, handle)
        rates = self._optional(nvml.nvmlDeviceGetUtilizationRates, handle)
        milliwatts = self._optional(nvml.nvmlDeviceGetPowerUsage, handle)
        return GpuUsage(
            index=index,
            name=nvml.nvmlDeviceGetName(handle),
            uuid=nvml.nvmlDeviceGetUUID(handle),
            utilization=None if rates is None else float(rates.gpu),
            memory_total=None if memory is None else int(memory.total),
            memory_used=None if memory is None else int(memory.used),
            temperature=self._optional(
                nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU
            ),
            power=None if milliwatts is None else milliwatts / 1000,
        )

    def _optional(self, query: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return query(*arguments)
        except self._nvml.NVMLError:
            return None
