from __future__ import annotations

from collections.abc import Callable

import pytest

from inference.benchmark.performance import PerformanceBenchmark
from inference.benchmark.prompts import PromptSource
from tests.inference.benchmark.fakes import FakeEngine

SENTENCES = [list(range(start, start + 20)) for start in range(0, 4000, 20)]


class Shop:
    """Makes the engines that a benchmark asks for and remembers them."""

    def __init__(self, make: Callable[[], FakeEngine]) -> None:
        self._make = make
        self.sizes: list[tuple[int, int]] = []
        self.engines: list[FakeEngine] = []

    def __call__(self, num_slots: int, max_model_len: int) -> FakeEngine:
        self.sizes.append((num_slots, max_model_len))
        self.engines.append(self._make())
        return self.engines[-1]


def benchmark(make: Callable[[], FakeEngine]) -> tuple[PerformanceBenchmark, Shop]:
    shop = Shop(make)
    return PerformanceBenchmark(shop, lambda: PromptSource(SENTENCES), lambda _text: None), shop


def test_single_requests_have_their_latency() -> None:
    found, _ = benchmark(lambda: FakeEngine("ours"))
    single = found.benchmark_single_inference(FakeEngine("ours", seconds=0.01), [[1], [2]])
    assert single.num_requests == 2
    assert single.latency_p50 == pytest.approx(0.64)
    assert single.ttft_p50 == pytest.approx(0.01)


def test_the_cost_of_a_token_is_told_by_batch_and_by_length() -> None:
    bench, shop = benchmark(lambda: FakeEngine("ours", seconds=0.01))
    _, by_length, by_batch = bench.scale([128, 4096], [1, 64])
    assert [cost.prompt_tokens for cost in by_length] == [128, 4096]
    assert by_length[0].prefill_ms == pytest.approx(10)
    assert by_length[0].decode_ms_per_token == pytest.approx(10)
    assert [cost.batch_size for cost in by_batch] == [1, 64]
    assert by_batch[0].ms_per_token == pytest.approx(10)
    assert by_batch[1].ms_per_token == pytest.approx(10 / 64)
    assert by_batch[1].ms_per_step == pytest.approx(10)
    # One slot for the longest prompt, and as many short ones as the largest batch.
    assert shop.sizes[0][0] == 1
    assert shop.sizes[0][1] > 4096
    assert shop.sizes[1][0] == 64
    assert all(engine.is_stopped for engine in shop.engines)


def test_growth_is_the_highest_sample_of_the_second_half_over_its_mean() -> None:
    samples = [900, 100, 100, 130, 110, 110]
    bench, shop = benchmark(lambda: FakeEngine("ours", resident=samples))
    growth = bench.grow(num_requests=6 * 20)
    assert growth.num_requests == 120
    assert growth.first_bytes == 900
    assert growth.max_bytes == 130
    assert growth.growth_bytes == 130 - 116
    assert shop.engines[0].is_stopped


def test_memory_is_told_for_every_size() -> None:
    bench, shop = benchmark(lambda: FakeEngine("ours", resident=[200, 300]))
    uses = bench.benchmark_memory_usage([(1, 512), (8, 1024)])
    assert [(use.num_slots, use.loaded_bytes, use.used_bytes) for use in uses] == [
        (1, 200, 300),
        (8, 200, 300),
    ]
    assert shop.sizes == [(1, 512), (8, 1024)]


def test_load_runs_until_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    bench, shop = benchmark(lambda: FakeEngine("ours"))
    load = bench.benchmark_concurrent_load(num_threads=4, duration=3.0)
    assert load.num_requests == 3 * 16  # every run of this clock takes one second
    assert load.tokens_per_second == pytest.approx(16 * 64)
    assert shop.engines[0].is_stopped
