"""AMD's readers against recorded answers of the module and of the program."""

from __future__ import annotations

import json
import stat
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from monitoring.collectors.amd import AmdReader, AmdSmiReader, RocmSmiReader, read_cards

# `rocm-smi --json` of ROCm 6 on a machine with two cards, as far as it is read.
RECORDED = {
    "card1": {"GPU use (%)": "3", "Card Series": "AMD Instinct MI210"},
    "card0": {
        "Unique ID": "0x1d1c0a5d7a3f",
        "Temperature (Sensor edge) (C)": "41.0",
        "Temperature (Sensor junction) (C)": "47.0",
        "mclk clock speed:": "(1300Mhz)",
        "sclk clock speed:": "(2100Mhz)",
        "Max Graphics Package Power (W)": "750.0",
        "Current Socket Graphics Package Power (W)": "142.0",
        "GPU use (%)": "87",
        "GPU Memory Read/Write Activity (%)": "12",
        "VRAM Total Memory (B)": "205822885888",
        "VRAM Total Used Memory (B)": "102911442944",
        "Card Series": "AMD Instinct MI300X",
    },
    "system": {"Driver version": "6.8.5"},
}


class FakeAmdSmi:
    """Answers as `amdsmi` with one GPU whose memory clock is not known."""

    class AmdSmiException(Exception):
        pass

    class AmdSmiTemperatureType(Enum):
        EDGE = 0
        HOTSPOT = 1

    class AmdSmiTemperatureMetric(Enum):
        CURRENT = 0

    class AmdSmiClkType(Enum):
        GFX = 0
        MEM = 1

    num_inits = 0
    is_broken = False

    def amdsmi_init(self) -> None:
        self.num_inits += 1
        if self.is_broken:
            raise self.AmdSmiException("driver not loaded")

    def amdsmi_get_processor_handles(self) -> list[str]:
        return ["gpu"]

    def amdsmi_get_gpu_asic_info(self, handle: str) -> dict[str, Any]:
        return {"market_name": "AMD Instinct MI300X"}

    def amdsmi_get_gpu_device_uuid(self, handle: str) -> str:
        return "uuid-1"

    def amdsmi_get_gpu_activity(self, handle: str) -> dict[str, Any]:
        return {"gfx_activity": 64, "umc_activity": 9, "mm_activity": "N/A"}

    def amdsmi_get_gpu_vram_usage(self, handle: str) -> dict[str, Any]:
        return {"vram_total": 196288, "vram_used": 1024}

    def amdsmi_get_power_info(self, handle: str) -> dict[str, Any]:
        return {
            "average_socket_power": "N/A",
            "current_socket_power": 141,
            "power_limit": 750_000_000,
        }

    def amdsmi_get_temp_metric(self, handle: str, sensor: Enum, metric: Enum) -> int:
        if sensor is self.AmdSmiTemperatureType.HOTSPOT:
            raise self.AmdSmiException("not supported")
        return 44

    def amdsmi_get_clock_info(self, handle: str, kind: Enum) -> dict[str, Any]:
        if kind is self.AmdSmiClkType.MEM:
            raise self.AmdSmiException("not supported")
        return {"clk": 2100, "max_clk": 2100}

    def amdsmi_get_gpu_process_list(self, handle: str) -> list[dict[str, Any]]:
        return [{"name": "python", "pid": 7, "mem": 4096}]


def test_the_module_is_read_with_its_units() -> None:
    (gpu,) = AmdSmiReader(FakeAmdSmi()).read()
    assert (gpu.vendor, gpu.name, gpu.utilization, gpu.uuid) == (
        "amd",
        "AMD Instinct MI300X",
        64.0,
        "uuid-1",
    )
    assert (gpu.memory_total, gpu.memory_used) == (196288 * 1024**2, 1024**3)
    assert (gpu.temperature, gpu.power, gpu.power_limit) == (44.0, 141.0, 750.0)
    assert (gpu.clock_core, gpu.clock_memory) == (2100, None)
    assert [(one.pid, one.memory) for one in gpu.processes or ()] == [(7, 4096)]


def test_a_driver_that_is_not_loaded_is_the_reason() -> None:
    smi = FakeAmdSmi()
    smi.is_broken = True
    reader = AmdSmiReader(smi)
    assert reader.read() == []
    assert "driver not loaded" in reader.reason
    smi.is_broken = False
    assert len(reader.read()) == 1


def test_the_programs_answer_is_read_by_card() -> None:
    first, second = read_cards(RECORDED)
    assert (first.name, first.utilization, first.memory_usage) == (
        "AMD Instinct MI300X",
        87.0,
        50.0,
    )
    assert (first.temperature, first.power, first.power_limit) == (47.0, 142.0, 750.0)
    assert (first.clock_core, first.clock_memory, first.memory_bandwidth) == (2100, 1300, 12.0)
    assert (second.index, second.utilization, second.power) == (1, 3.0, None)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A `rocm-smi` that answers what was recorded, and notes each of its runs."""
    (tmp_path / "answer").write_text(json.dumps(RECORDED))
    script = tmp_path / "rocm-smi"
    script.write_text(f"#!/bin/sh\necho >> {tmp_path}/runs\ncat {tmp_path}/answer\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def test_the_program_runs_at_most_every_ten_seconds(program: Path) -> None:
    now = [0.0]
    reader = RocmSmiReader(str(program), clock=lambda: now[0])
    assert len(reader.read()) == len(reader.read()) == 2
    now[0] = 11.0
    reader.read()
    assert len((program.parent / "runs").read_text().splitlines()) == 2


def test_an_answer_that_is_no_json_is_the_reason(program: Path) -> None:
    (program.parent / "answer").write_text("ERROR: no device")
    reader = RocmSmiReader(str(program))
    assert reader.read() == []
    assert reader.reason.startswith("rocm-smi: ")


def test_without_the_module_the_program_is_used(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert [gpu.index for gpu in AmdReader().read()] == [0, 1]


def test_without_either_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    reader = AmdReader()
    assert reader.read() == []
    assert reader.reason == "neither amdsmi nor rocm-smi is installed"
