"""The reader against a recorded driver: the names and units of NVML, with no device needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from monitoring.collectors.gpu import GpuReader


class FakeNvml:
    """Answers as a driver with one GPU whose power cannot be read."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, *, has_driver: bool = True) -> None:
        self.has_driver = has_driver
        self.num_inits = 0

    def nvmlInit(self) -> None:
        self.num_inits += 1
        if not self.has_driver:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA H100"

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return "GPU-1"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=80_000, used=20_000)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=42, memory=7)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 55

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        raise self.NVMLError("Not Supported")


def test_a_gpu_is_read_with_its_units() -> None:
    (gpu,) = GpuReader(FakeNvml()).read()
    assert (gpu.name, gpu.utilization, gpu.memory_total, gpu.memory_used) == (
        "NVIDIA H100",
        42.0,
        80_000,
        20_000,
    )
    assert gpu.temperature == 55


def test_what_the_driver_does_not_tell_is_none() -> None:
    (gpu,) = GpuReader(FakeNvml()).read()
    assert gpu.power is None


def test_without_a_driver_there_is_a_reason() -> None:
    reader = GpuReader(FakeNvml(has_driver=False))
    assert reader.read() == []
    assert "Not Found" in reader.reason


def test_the_driver_is_opened_once() -> None:
    nvml = FakeNvml()
    reader = GpuReader(nvml)
    reader.read()
    reader.read()
    assert nvml.num_inits == 1
