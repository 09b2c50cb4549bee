"""The readers against recorded drivers: the names and units of NVML, with no device needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from monitoring.collectors.gpu import GpuReader, GpuReaders


class FakeNvml:
    """Answers as a driver with GPUs whose fan and power limit cannot be read."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM = 1, 2
    nvmlClocksThrottleReasonGpuIdle = 1
    nvmlClocksThrottleReasonSwPowerCap = 4
    nvmlClocksThrottleReasonHwThermalSlowdown = 64

    class NVMLError(Exception):
        pass

    def __init__(self, *, has_driver: bool = True, num_gpus: int = 1) -> None:
        self.has_driver = has_driver
        self.num_gpus = num_gpus
        self.num_inits = 0
        self.lost: set[int] = set()

    def nvmlInit(self) -> None:
        self.num_inits += 1
        if not self.has_driver:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetCount(self) -> int:
        if not self.has_driver:
            raise self.NVMLError("Driver Not Loaded")
        return self.num_gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index in self.lost:
            raise self.NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return b"NVIDIA H100"

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=80_000, used=20_000)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=42, memory=7)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 55

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 312_500

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:
        return {1: 1980, 2: 2619}[kind]

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        return 1 | 4 | 64

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        return [
            SimpleNamespace(pid=7, usedGpuMemory=9000),
            SimpleNamespace(pid=8, usedGpuMemory=None),
        ]


def test_a_gpu_is_read_with_its_units() -> None:
    (gpu,) = GpuReader(FakeNvml()).read()
    assert (gpu.name, gpu.uuid, gpu.utilization, gpu.memory_bandwidth) == (
        "NVIDIA H100",
        "GPU-0",
        42.0,
        7.0,
    )
    assert (gpu.memory_total, gpu.memory_used, gpu.memory_usage) == (80_000, 20_000, 25.0)
    assert (gpu.temperature, gpu.power, gpu.clock_core, gpu.clock_memory) == (55, 312.5, 1980, 2619)


def test_what_slows_it_and_who_computes_on_it_are_told() -> None:
    (gpu,) = GpuReader(FakeNvml()).read()
    assert gpu.throttle_reasons == ("power limit", "temperature (hardware)")
    assert [(one.pid, one.memory) for one in gpu.processes or ()] == [(7, 9000), (8, None)]


def test_what_the_driver_does_not_tell_is_none() -> None:
    (gpu,) = GpuReader(FakeNvml()).read()
    assert gpu.power_limit is None


def test_a_query_that_an_old_driver_lacks_hides_no_other() -> None:
    class OldNvml(FakeNvml):
        nvmlDeviceGetCurrentClocksThrottleReasons = None  # type: ignore[assignment]

        def __getattribute__(self, name: str) -> Any:
            if name == "nvmlDeviceGetCurrentClocksThrottleReasons":
                raise AttributeError(name)
            return super().__getattribute__(name)

    (gpu,) = GpuReader(OldNvml()).read()
    assert (gpu.throttle_reasons, gpu.utilization) == (None, 42.0)


def test_a_lost_gpu_hides_none_of_the_others() -> None:
    nvml = FakeNvml(num_gpus=3)
    nvml.lost = {1}
    first, lost, third = GpuReader(nvml).read()
    assert (first.uuid, third.uuid) == ("GPU-0", "GPU-2")
    assert (lost.error, lost.utilization) == ("GPU is lost", None)


def test_without_a_driver_there_is_a_reason() -> None:
    reader = GpuReader(FakeNvml(has_driver=False))
    assert reader.read() == []
    assert "Not Found" in reader.reason


def test_a_driver_without_a_device_says_so() -> None:
    reader = GpuReader(FakeNvml(num_gpus=0))
    assert reader.read() == []
    assert reader.reason == "no NVIDIA GPU was found"


def test_the_driver_is_opened_once() -> None:
    nvml = FakeNvml()
    reader = GpuReader(nvml)
    reader.read()
    reader.read()
    assert nvml.num_inits == 1


def test_a_missing_driver_is_looked_for_again_only_after_a_while() -> None:
    now, nvml = [0.0], FakeNvml(has_driver=False)
    reader = GpuReader(nvml, clock=lambda: now[0])
    reader.read()
    reader.read()
    assert nvml.num_inits == 1
    now[0], nvml.has_driver = 61.0, True
    assert len(reader.read()) == 1


def test_a_driver_that_comes_back_is_opened_again() -> None:
    nvml = FakeNvml()
    reader = GpuReader(nvml)
    reader.read()
    nvml.has_driver = False
    assert reader.read() == []
    nvml.has_driver = True
    assert len(reader.read()) == 1
    assert nvml.num_inits == 2


def test_the_reasons_of_all_vendors_are_told_together() -> None:
    readers = GpuReaders([GpuReader(FakeNvml(has_driver=False)), GpuReader(FakeNvml(num_gpus=0))])
    assert readers.read() == []
    assert readers.reason == "NVML Shared Library Not Found; no NVIDIA GPU was found"
