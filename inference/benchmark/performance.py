"""The design document's PerformanceBenchmark: latency, batches, load, memory and scale of one engine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference.benchmark.engines.base import CONTEXT, MeasuredEngine, Say
from inference.benchmark.figures import Figures, Trace, summarize
from inference.benchmark.prompts import Prompt, PromptSource
from inference.benchmark.workloads import NEW_TOKENS, PROMPT_TOKENS
from llamagpu.lib.percentiles import percentiles

PROMPT_LENGTHS = (128, 256, 512, 1024, 2048, 4096)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
NUM_GROWTH_REQUESTS = 2000
#: An engine, not yet started, with so many slots of so many tokens.
EngineFactory = Callable[[int, int], MeasuredEngine]

_TRIES = 3
_GROWTH_STEP = 20
_GROWTH_CONCURRENCY = 8
_SHORT_PROMPT = 16
_SHORT_ANSWER = 8
_DECODED = 32
_MARGIN = 64


@dataclass(frozen=True, slots=True)
class SingleLatency:
    """Requests one after another; seconds."""

    num_requests: int
    latency_p50: float
    latency_p99: float
    ttft_p50: float


@dataclass(frozen=True, slots=True)
class BatchCost:
    """A batch of equal requests; the median of several."""

    batch_size: int
    tokens_per_second: float
    ms_per_step: float
    ms_per_token: float


@dataclass(frozen=True, slots=True)
class LengthCost:
    """One prompt of this length; the median of several."""

    prompt_tokens: int
    prefill_ms: float
    prefill_ms_per_token: float
    decode_ms_per_token: float


@dataclass(frozen=True, slots=True)
class LoadResult:
    """So many callers for so long, each with its next request as soon as one ends."""

    num_threads: int
    duration: float
    num_requests: int
    tokens_per_second: float
    ttft_p50: float
    ttft_p99: float
    gap_p99: float | None


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Resident bytes with so many slots of so many tokens."""

    num_slots: int
    max_model_len: int
    loaded_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True)
class MemoryGrowth:
    """Resident bytes over many short requests; growth is max - mean of the samples' second half."""

    num_requests: int
    first_bytes: int
    mean_bytes: int
    max_bytes: int

    @property
    def growth_bytes(self) -> int:
        return self.max_bytes - self.mean_bytes


class PerformanceBenchmark:
    """Measures one kind of engine. Every method may raise what engines raise, and stops its own."""

    def __init__(
        self, make_engine: EngineFactory, make_prompts: Callable[[], PromptSource], say: Say
    ) -> None:
        self._make_engine = make_engine
        self._prompts = make_prompts
        self._say = say

    def benchmark_single_inference(
        self, model: MeasuredEngine, inputs: Sequence[Prompt]
    ) -> SingleLatency:
        """Measure single request latency."""
        traces = model.run(inputs, new_tokens=NEW_TOKENS, concurrency=1)
        ranks = percentiles([trace.arrivals[-1][0] - trace.sent for trace in traces])
        waits = percentiles([trace.arrivals[0][0] - trace.sent for trace in traces])
        return SingleLatency(
            num_requests=len(traces),
            latency_p50=ranks["p50"] or 0.0,
            latency_p99=ranks["p99"] or 0.0,
            ttft_p50=waits["p50"] or 0.0,
        )

    def benchmark_batch_inference(
        self, model: MeasuredEngine, batch_sizes: Sequence[int]
    ) -> list[BatchCost]:
        """Measure batch throughput."""
        prompts = self._prompts()
        costs = []
        for size in batch_sizes:
            self._say(f"batch of {size}")
            runs = self._tries(model, prompts, size, PROMPT_TOKENS, _DECODED)
            speed = statistics.median(run.tokens_per_second for run in runs)
            gaps = [run.gap_p50 for run in runs if run.gap_p50 is not None]
            costs.append(
                BatchCost(
                    batch_size=size,
                    tokens_per_second=speed,
                    ms_per_step=statistics.median(gaps) * 1000,
                    ms_per_token=1000 / speed,
                )
            )
        return costs

    def benchmark_prompt_lengths(
        self, model: MeasuredEngine, lengths: Sequence[int]
    ) -> list[LengthCost]:
        """Measure the cost of a token against the length of its prompt."""
        prompts = self._prompts()
        costs = []
        for length in lengths:
            self._say(f"prompt of {length} tokens")
            runs = self._tries(model, prompts, 1, length, _DECODED)
            wait = statistics.median(run.ttft_p50 for run in runs) * 1000
            # The first token belongs to the prefill.
            decode = statistics.median(
                (run.wall - run.ttft_p50) / (run.new_tokens - 1) for run in runs
            )
            costs.append(LengthCost(length, wait, wait / length, decode * 1000))
        return costs

    def benchmark_concurrent_load(self, num_threads: int, duration: float) -> LoadResult:
        """Measure concurrent performance."""
        prompts = self._prompts()
        traces: list[Trace] = []
        elapsed = 0.0
        with _Started(self._make_engine(max(32, num_threads), CONTEXT), self._say) as model:
            self._say(f"{num_threads} callers for {duration:.0f} s")
            while elapsed < duration:
                # Several per caller, so that callers are out of step as real ones are.
                inputs = prompts.make(
                    f"load {len(traces)}", count=4 * num_threads, num_tokens=PROMPT_TOKENS
                )
                started = time.perf_counter()
                traces += model.run(inputs, new_tokens=NEW_TOKENS, concurrency=num_threads)
                elapsed += time.perf_counter() - started
        figures = summarize(traces, prompt_tokens=PROMPT_TOKENS, new_tokens=NEW_TOKENS)
        waits = percentiles([trace.arrivals[0][0] - trace.sent for trace in traces])
        return LoadResult(
            num_threads=num_threads,
            duration=elapsed,
            num_requests=len(traces),
            tokens_per_second=len(traces) * NEW_TOKENS / elapsed,
            ttft_p50=figures.ttft_p50,
            ttft_p99=waits["p99"] or 0.0,
            gap_p99=figures.gap_p99,
        )

    def benchmark_memory_usage(self, model_sizes: Sequence[tuple[int, int]]) -> list[MemoryUse]:
        """Measure memory efficiency: `model_sizes` are (slots, tokens per slot)."""
        uses = []
        for num_slots, max_model_len in model_sizes:
            self._say(f"memory with {num_slots} slots of {max_model_len} tokens")
            with _Started(self._make_engine(num_slots, max_model_len), self._say) as model:
                loaded = model.resident_bytes()
                self._tries(model, self._prompts(), num_slots, PROMPT_TOKENS, _DECODED)
                uses.append(MemoryUse(num_slots, max_model_len, loaded, model.resident_bytes()))
        return uses

    def benchmark_memory_growth(
        self, model: MeasuredEngine, num_requests: int = NUM_GROWTH_REQUESTS
    ) -> MemoryGrowth:
        """Measure whether memory stays where it is over many short requests."""
        prompts = self._prompts()
        samples: list[int] = []
        for start in range(0, num_requests, _GROWTH_STEP):
            self._say(f"memory growth, request {start} of {num_requests}")
            inputs = prompts.make(f"{start}", count=_GROWTH_STEP, num_tokens=_SHORT_PROMPT)
            model.run(inputs, new_tokens=_SHORT_ANSWER, concurrency=_GROWTH_CONCURRENCY)
            samples.append(model.resident_bytes())
        half = samples[len(samples) // 2 :]
        return MemoryGrowth(num_requests, samples[0], int(statistics.mean(half)), max(half))

    def scale(
        self, lengths: Sequence[int], batch_sizes: Sequence[int]
    ) -> tuple[SingleLatency, list[LengthCost], list[BatchCost]]:
        """Latency and both tables of cost, on engines as large as they need to be."""
        with _Started(self._make_engine(1, max(lengths) + _MARGIN), self._say) as model:
            self._say("single requests")
            inputs = self._prompts().make("single", count=8, num_tokens=PROMPT_TOKENS)
            single = self.benchmark_single_inference(model, inputs)
            by_length = self.benchmark_prompt_lengths(model, lengths)
        slot_len = PROMPT_TOKENS + _DECODED + _MARGIN
        with _Started(self._make_engine(max(batch_sizes), slot_len), self._say) as model:
            by_batch = self.benchmark_batch_inference(model, batch_sizes)
        return single, by_length, by_batch

    def grow(self, num_requests: int = NUM_GROWTH_REQUESTS) -> MemoryGrowth:
        """The memory drill on an engine of its own."""
        with _Started(self._make_engine(32, CONTEXT), self._say) as model:
            return self.benchmark_memory_growth(model, num_requests)

    def _tries(
        self, model: MeasuredEngine, prompts: PromptSource, size: int, length: int, decoded: int
    ) -> list[Figures]:
        """Several runs of `size` requests at once, after one that warms up."""
        runs = []
        for number in range(_TRIES + 1):
            key = f"{size} x {length}, {number}"
            inputs = prompts.make(key, count=size, num_tokens=length)
            traces = model.run(inputs, new_tokens=decoded, concurrency=size)
            runs.append(summarize(traces, prompt_tokens=length, new_tokens=decoded))
        return runs[1:]


class _Started:
    """An engine that runs inside a `with` and is gone after it."""

    def __init__(self, engine: MeasuredEngine, say: Say) -> None:
        self._engine = engine
        self._say = say

    def __enter__(self) -> MeasuredEngine:
        try:
            self._engine.prepare(self._say)
            self._engine.start(self._say)
        except BaseException:
            self._engine.stop()
            raise
        return self._engine

    def __exit__(self, *_: object) -> None:
        self._engine.stop()
