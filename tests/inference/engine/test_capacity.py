"""Memory is planned before a byte of weights is read; what is short is told with its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inference.engine.backends.cpu import CpuBackend
from inference.engine.capacity import check_fit, plan_capacity
from inference.engine.config import EngineConfig
from inference.engine.errors import LoadError
from inference.engine.kv_cache.base import LayerShape
from inference.memory_plan import estimate_memory, least_memory, planned_bytes, size_cache
from inference.model_files import ModelFiles, read_model_files
from llamagpu.lib.error_codes import ErrorCode
from tests.environment import MODEL_ROOT

SHAPES = [LayerShape(2, 16, 16)] * 4  # 2 * 32 * 4 layers * 4 bytes = 1 KiB a token
MIB = 1024**2
GIB = 1024**3


@pytest.fixture(scope="module")
def files() -> ModelFiles:
    return read_model_files(MODEL_ROOT / "smollm2-135m-instruct")


def plan(config: EngineConfig, free: int | None, model_len: int = 8192) -> tuple[int, int]:
    capacity = plan_capacity(config, model_len, SHAPES, 4, free)
    return capacity.num_slots, capacity.max_model_len


def test_capacity_follows_settings_model_and_memory() -> None:
    assert plan(EngineConfig(), None) == (32, 8192)
    assert plan(EngineConfig(max_model_len=100), 10**12) == (32, 100)
    assert plan(EngineConfig(max_model_len=10**6), 10**12) == (32, 8192)
    # Half of what is free: 128 Ki tokens are 32 slots of 4096.
    assert plan(EngineConfig(), 256 * MIB) == (32, 4096)


def test_an_open_length_and_the_slots_give_way_in_turns() -> None:
    assert plan(EngineConfig(), 512 * MIB) == (32, 8192)
    assert plan(EngineConfig(), 100 * MIB) == (12, 4096)
    assert plan(EngineConfig(), 40 * MIB) == (10, 2048)
    assert plan(EngineConfig(), 10 * MIB) == (5, 1024)
    assert plan(EngineConfig(num_slots=1), 16 * MIB) == (1, 8192)


def test_a_length_that_is_asked_for_stays_and_slots_give_way() -> None:
    assert plan(EngineConfig(max_model_len=4096), 80 * MIB) == (16, 4096)
    with pytest.raises(LoadError, match="LLAMA_MAX_MODEL_LEN") as refusal:
        plan(EngineConfig(max_model_len=4096), 4 * MIB)
    assert refusal.value.code is ErrorCode.INSUFFICIENT_MEMORY


def test_a_model_without_a_cache_is_not_bound_by_it() -> None:
    assert size_cache(
        num_slots=1, asked=None, model_len=9000, bytes_per_token=0, budget=0
    ) == (1, 9000)  # fmt: skip


def test_an_estimate_adds_up_weights_cache_and_working_space(files: ModelFiles) -> None:
    estimate = estimate_memory(files, num_slots=32, context_length=2048)
    assert estimate.weights == 4 * 134_515_008
    assert estimate.kv_cache == 32 * 2048 * 30 * 3 * 64 * 2 * 4
    assert estimate.total == estimate.weights + estimate.kv_cache + estimate.working
    compact = estimate_memory(
        files, num_slots=32, context_length=2048, weight_bytes_per_parameter=1.03, kv_dtype_bytes=2
    )
    assert compact.kv_cache == estimate.kv_cache // 2
    assert compact.weights < estimate.weights / 3
    assert estimate_memory(files, num_slots=1, context_length=10**9).context_length == 8192


def test_what_does_not_fit_is_refused_with_its_parts_and_a_remedy(files: ModelFiles) -> None:
    form = {"weight_bytes_per_parameter": 4.0, "kv_dtype_bytes": 4.0}
    check_fit(files, EngineConfig(), None, **form)
    check_fit(files, EngineConfig(), 2 * GIB, **form)
    with pytest.raises(LoadError) as refusal:
        check_fit(files, EngineConfig(max_model_len=8192), GIB, **form)
    assert refusal.value.code is ErrorCode.INSUFFICIENT_MEMORY
    for part in (
        "needs 1.3 of 1.0 GiB free",
        "weights 0.50",
        "KV cache 0.35 (1 x 8192 tokens)",
        "working space 0.4",
        "LLAMA_MAX_MEMORY",
    ):
        assert part in refusal.value.message


def test_a_process_keeps_to_the_memory_that_it_may_hold(tiny_model: Path) -> None:
    def load(**settings: Any) -> Any:
        backend = CpuBackend()
        backend.initialize()
        return backend.load_model(str(tiny_model), EngineConfig(num_threads=1, **settings))

    with pytest.raises(LoadError, match="GiB free") as refusal:
        load(max_memory_bytes=100 * MIB)
    assert refusal.value.code is ErrorCode.INSUFFICIENT_MEMORY
    assert load(max_memory_bytes=64 * GIB).capacity.num_slots == 32


def test_what_an_engine_will_reserve_stays_within_its_share(files: ModelFiles) -> None:
    least = least_memory(files).total
    free = planned_bytes(files, num_slots=32, asked_length=None, limit=None)
    assert free == estimate_memory(files, num_slots=32).total
    for limit in (2 * GIB, 8 * GIB):
        planned = planned_bytes(files, num_slots=32, asked_length=None, limit=limit)
        assert least < planned < limit
    assert planned_bytes(files, num_slots=32, asked_length=None, limit=100 * GIB) == free
