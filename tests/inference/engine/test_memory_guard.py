"""Short memory: an allocation that fails costs time, not answers; little free memory, company."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence as SequenceOf
from pathlib import Path

import pytest
import torch

from inference.engine.counters import Counters
from inference.engine.failures import is_out_of_memory
from inference.engine.memory_guard import MAX_TRIES, MemoryGuard
from inference.engine.scheduler import Scheduler
from inference.engine.sequence import Sequence, SequenceState
from inference.engine.step_plan import StepPlan
from inference.engine.tiling import TILE
from inference.protocol import Delta, Failed, Stats
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.engine.harness import Harness, running_engine
from tests.inference.engine.sequences import make_scheduler, make_sequence, run
from tests.inference.engine.tiny_models import write_model

ROOT = Path(__file__).resolve().parents[3]
GIB = 1024**3
PROMPTS = [[(13 * index + 7 * position) % 256 for position in range(150)] for index in range(6)]
PARAMS = [
    {"temperature": 0.0},
    {"temperature": 1.0, "seed": 4},
    {"temperature": 0.0, "frequency_penalty": 0.5},
    {"temperature": 0.8, "seed": 5, "top_k": 40},
    {"temperature": 1.0, "seed": 6, "repetition_penalty": 1.2},
    {"temperature": 0.0},
]


class Memory:
    """A device whose free bytes a test sets."""

    def __init__(self, free: int | None) -> None:
        self.free = free
        self.released: list[list[int]] = []

    @property
    def free_bytes(self) -> int | None:
        return self.free

    def release_memory(self, idle_slots: SequenceOf[int]) -> int:
        self.released.append(list(idle_slots))
        return 0


def make_guard(free: int | None, num_running: int = 8) -> tuple[MemoryGuard, Scheduler, Memory]:
    scheduler = make_scheduler(num_slots=8, budget=512)
    memory = Memory(free)
    guard = MemoryGuard(scheduler, memory, Counters())
    for index in range(num_running):
        scheduler.add(make_sequence(str(index), 20, max_tokens=100))
    run(scheduler)
    return guard, scheduler, memory


def fail(guard: MemoryGuard, plan: StepPlan) -> bool:
    return guard.after_failure(plan, MemoryError())


def test_little_free_memory_means_less_company_and_caches_go_first() -> None:
    guard, scheduler, memory = make_guard(8 * GIB)
    memory.free = 200 * 1024**2
    guard.check()
    assert scheduler.max_running == 6
    assert memory.released == [[]]
    # Those who run go on; nobody new joins.
    assert scheduler.num_running == 8
    scheduler.add(make_sequence("late", 5))
    assert run(scheduler).started == ()


def test_very_little_sends_the_newest_back_to_wait() -> None:
    guard, scheduler, memory = make_guard(8 * GIB)
    memory.free = 50 * 1024**2
    guard.check()
    assert scheduler.num_running == 6
    waiting = [s.request_id for s in scheduler.all() if s.state is SequenceState.WAITING]
    assert waiting == ["6", "7"]


def test_one_sequence_always_runs() -> None:
    guard, scheduler, memory = make_guard(8 * GIB)
    memory.free = 0
    for _ in range(20):
        guard.check()
        run(scheduler)
    assert (scheduler.max_running, scheduler.num_running) == (1, 1)


def test_enough_free_memory_brings_the_company_back() -> None:
    guard, scheduler, memory = make_guard(8 * GIB)
    memory.free = 0
    for _ in range(20):
        guard.check()
    memory.free = 300 * 1024**2
    guard.check()
    assert scheduler.max_running == 1
    memory.free = GIB
    for _ in range(20):
        guard.check()
    run(scheduler)
    assert (scheduler.max_running, scheduler.num_running) == (8, 8)


def test_a_device_that_was_nearly_full_from_the_start_is_not_short() -> None:
    guard, scheduler, _ = make_guard(100 * 1024**2)
    guard.check()
    assert scheduler.max_running == 8


def test_free_memory_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    guard, _, _ = make_guard(8 * GIB)
    checks: list[int] = []
    monkeypatch.setattr(guard, "check", lambda: checks.append(1))
    for tick in range(1000):
        guard.after_step(100.0 + tick / 100)
    assert 15 <= len(checks) <= 21


def test_a_failed_allocation_halves_the_budget_then_the_company() -> None:
    guard, scheduler, _ = make_guard(None)
    plan = scheduler.schedule()
    seen = []
    for _ in range(5):
        assert fail(guard, plan)
        seen.append((scheduler.prefill_budget, scheduler.num_running))
    assert seen == [(256, 8), (128, 4), (TILE, 2), (TILE, 1), (TILE, 1)]


def test_after_many_tries_the_steps_requests_are_given_up() -> None:
    guard, scheduler, _ = make_guard(None)
    plan = scheduler.schedule()
    assert [fail(guard, plan) for _ in range(MAX_TRIES + 1)] == [*[True] * MAX_TRIES, False]
    # And the next step has all its tries again.
    assert fail(guard, plan)


def test_budget_and_company_recover_slowly() -> None:
    guard, scheduler, _ = make_guard(None)
    plan = scheduler.schedule()
    for _ in range(4):
        fail(guard, plan)
    budgets = []
    for tick in range(10):
        guard.after_step(200.0 + tick)
        budgets.append(scheduler.prefill_budget)
    assert budgets == [128, 192, 256, 320, 384, 448, 512, 512, 512, 512]
    assert scheduler.max_running == 8


def test_a_sequence_whose_beginning_was_being_copied_starts_afresh() -> None:
    scheduler = make_scheduler(num_slots=4)
    guard = MemoryGuard(scheduler, Memory(None), Counters())
    scheduler.add(make_sequence("a", 200, max_tokens=50))
    run(scheduler)
    copier = make_sequence("b", 200, max_tokens=50)
    scheduler.add(copier)
    plan = scheduler.schedule()
    assert [copy.sequence for copy in plan.copies] == [copier]
    fail(guard, plan)
    assert (copier.state, copier.num_computed) == (SequenceState.WAITING, 0)


def test_a_number_that_was_drawn_in_a_failed_step_is_drawn_again() -> None:
    sequence = make_sequence("a", 5, temperature=1.0)
    first = sequence.random.random()
    sequence.output_ids.append(1)
    second = sequence.random.random()
    sequence.rewind_random()
    assert sequence.random.random() == second
    sequence.output_ids.clear()
    sequence.rewind_random()
    assert sequence.random.random() == first


def allocate_absurdly() -> None:
    torch.empty(1 << 50, dtype=torch.uint8)


def test_what_allocators_raise_is_recognized() -> None:
    with pytest.raises(RuntimeError) as caught:
        allocate_absurdly()
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("cuBLAS: CUBLAS_STATUS_ALLOC_FAILED when calling"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("not enough memory of the past"))


def break_infer(harness: Harness, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Let a real allocation fail in every step that computes more than `limit` rows."""
    backend = harness.running.backend
    infer = backend.infer

    def short(plan: StepPlan) -> torch.Tensor:
        rows = len(plan.decodes) + sum(row.num_rows for row in plan.verifications)
        if rows + sum(chunk.end - chunk.start for chunk in plan.chunks) > limit:
            allocate_absurdly()
        return infer(plan)

    monkeypatch.setattr(backend, "infer", short)


def ask_all(engine: Harness) -> list[str]:
    ids = [
        engine.send(prompt, max_tokens=60, **params)
        for prompt, params in zip(PROMPTS, PARAMS, strict=True)
    ]
    return [engine.finish(request_id).text for request_id in ids]


@pytest.fixture(scope="module")
def undisturbed(tiny_model: Path) -> list[str]:
    with running_engine(tiny_model) as engine:
        return ask_all(engine)


@pytest.mark.parametrize("limit", [300, 130, 70])
def test_where_large_steps_cannot_be_had_small_ones_give_the_same_texts(
    limit: int, tiny_model: Path, undisturbed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_engine(tiny_model) as engine:
        break_infer(engine, monkeypatch, limit)
        assert ask_all(engine) == undisturbed
        stats: Stats = engine.engine.stats()
    assert stats.oom_retries_total > 0


def test_where_nothing_can_be_computed_the_steps_requests_fail_and_the_next_succeed(
    tiny_model: Path, undisturbed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_engine(tiny_model, num_slots=2) as engine:
        break_infer(engine, monkeypatch, 0)
        outcome = engine.outcome(engine.send(PROMPTS[0], max_tokens=60))
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.INSUFFICIENT_MEMORY
        monkeypatch.undo()
        assert ask_all(engine) == undisturbed


def test_a_cancelled_request_ends_between_the_tries(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_engine(tiny_model) as engine:
        request_id = engine.send(PROMPTS[0], max_tokens=300)
        engine.wait_for(request_id, Delta)
        guard = engine.engine._guard
        after = guard.after_failure

        def cancel(plan: StepPlan, error: Exception) -> bool:
            engine.engine.cancel(request_id)
            return after(plan, error)

        monkeypatch.setattr(guard, "after_failure", cancel)
        break_infer(engine, monkeypatch, 0)
        outcome = engine.outcome(request_id)
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.CANCELLED


def test_numbers_are_drawn_once_where_sampling_runs_out_of_memory(
    tiny_model: Path, undisturbed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_engine(tiny_model) as engine:
        sampler = engine.engine._sampler
        sample, calls = sampler.sample, []

        def short(logits: torch.Tensor, sequences: SequenceOf[Sequence]) -> object:
            tokens = sample(logits, sequences)
            calls.append(1)
            if len(calls) % 20 == 3:
                allocate_absurdly()
            return tokens

        monkeypatch.setattr(sampler, "sample", short)
        texts = [engine.ask(PROMPTS[i], max_tokens=60, **PARAMS[i]).text for i in (0, 1, 3)]
    assert len(calls) > 180
    assert texts == [undisturbed[i] for i in (0, 1, 3)]


# A child whose address space ends a little above what it has: the kernel itself says no.
CHILD = """
import resource, sys
from pathlib import Path
import torch
from tests.inference.engine.harness import running_engine

path, extra = Path(sys.argv[1]), int(sys.argv[2])
prompt = [(7 * i) % 256 for i in range(500)]
with running_engine(path, num_threads=1, prefill_budget=512, max_drafts=0) as engine:
    expected = engine.ask(prompt[:400] + [1] * 100, max_tokens=8, tenant="before").text
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + extra, resource.RLIM_INFINITY))
    again = engine.ask(prompt[:400] + [1] * 100, max_tokens=8, tenant="after").text
    stats = engine.engine.stats()
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(again == expected, stats.oom_retries_total, stats.prefill_budget)
"""


def test_a_process_at_its_memory_limit_answers_in_smaller_steps(tmp_path: Path) -> None:
    # Wide enough that a step of 512 rows needs tens of megabytes, and one of 64 few.
    path = write_model(tmp_path, intermediate_size=24_576, num_hidden_layers=1)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(40 * 1024**2)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        env={"PATH": "", "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "0"},
    )
    assert done.returncode == 0, done.stderr
    is_equal, num_retries, budget = done.stdout.split()
    assert is_equal == "True"
    assert int(num_retries) >= 1
    assert int(budget) < 512
