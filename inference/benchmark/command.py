"""From options to a report: what `manage.py bench` and `python -m inference.benchmark` run."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from inference.benchmark.comparison import Comparer
from inference.benchmark.engines.base import (
    CONTEXT,
    MAX_CONCURRENCY,
    EngineUnavailableError,
    MeasuredEngine,
    RunFailedError,
    Setting,
)
from inference.benchmark.engines.ours import OwnEngine
from inference.benchmark.figures import IncompleteRunError
from inference.benchmark.machine import describe_machine, limit_cores
from inference.benchmark.options import make_peers
from inference.benchmark.performance import BATCH_SIZES, PROMPT_LENGTHS, PerformanceBenchmark
from inference.benchmark.progress import Progress
from inference.benchmark.prompts import PromptSource
from inference.benchmark.report import Report
from inference.benchmark.saved import save_report
from inference.benchmark.tables import render
from inference.benchmark.workloads import concurrent, prefill
from inference.model_files import ModelFilesError, read_model_files
from inference.tokenizer import TokenizerError

_DEFAULT_SLOTS = 32
_LOAD_CALLERS = 8
_MEMORY_SIZES = ((1, CONTEXT), (_DEFAULT_SLOTS, CONTEXT))
_DECODE_ROOM = 64


class BenchmarkError(Exception):
    """The benchmark cannot begin. The message says why."""


def run_benchmark(options: dict[str, Any], write: Callable[[str], object]) -> int:
    """Measure what `options` ask for and write the report; the exit status.

    It is 1 where a part or an engine gave no figures; peers may be allowed to. A missed target is a
    finding, not a failure. Raises BenchmarkError.
    """
    progress = Progress(sys.stderr)
    try:
        with _stopping_in_order():
            report = _measure(options, progress)
    finally:
        progress.close()
    if options["save"]:
        _save(report, options)
    write(json.dumps(report.to_json()) if options["json"] else render(report))
    is_enough = report.has_own_figures if options["allow_missing"] else report.is_complete
    return 0 if is_enough else 1


def _save(report: Report, options: dict[str, Any]) -> None:
    """A disk that is full costs nobody the figures: they are written out all the same."""
    try:
        save_report(options["report_dir"], report.to_json())
    except OSError as error:
        sys.stderr.write(f"the report could not be kept: {error}\n")


@contextlib.contextmanager
def _stopping_in_order() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does, so that a peer's own children are ended too."""

    def stop(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _measure(options: dict[str, Any], progress: Progress) -> Report:
    model_dir = options["model"].resolve()
    try:
        context = read_model_files(model_dir).max_model_len
        make_prompts = partial(PromptSource.for_model, model_dir)
        prompts = make_prompts()
        cores = limit_cores(options["cores"])
    except (ModelFilesError, TokenizerError, ValueError) as error:
        raise BenchmarkError(str(error)) from error
    if max(options["concurrency"]) > MAX_CONCURRENCY:
        raise BenchmarkError(f"at most {MAX_CONCURRENCY} concurrent requests can be compared")
    gguf = options["gguf"].resolve() if options["gguf"] else None
    setting = Setting(
        model_dir, options["cache_dir"].resolve(), len(cores), gguf, options["engine_cache_dir"]
    )
    level = options["optimization_level"]

    def make_engine(num_slots: int, max_model_len: int) -> MeasuredEngine:
        return OwnEngine(
            setting,
            backend=options["backend"],
            optimization_level=-1 if level is None else level,
            num_slots=num_slots,
            max_model_len=min(max_model_len, context),
        )

    report = Report(describe_machine(cores), model_dir.name)
    if "compare" in options["parts"]:
        slots = max(_DEFAULT_SLOTS, *options["concurrency"])
        engines = [make_engine(slots, CONTEXT), *make_peers(options["engines"], setting)]
        lengths = (options["prompt_tokens"], options["new_tokens"])
        workloads = [*(concurrent(c, *lengths) for c in options["concurrency"]), prefill()]
        comparer = Comparer(engines, workloads, prompts, progress)
        report.comparison = comparer.run(options["repeat"])
    benchmark = PerformanceBenchmark(make_engine, make_prompts, progress.say)
    for part in options["parts"]:
        _measure_part(part, report, benchmark, options, context)
    return report


def _measure_part(
    part: str,
    report: Report,
    benchmark: PerformanceBenchmark,
    options: dict[str, Any],
    context: int,
) -> None:
    """One of the parts that look at our engine alone; what breaks it is part of the report."""
    lengths = [length for length in PROMPT_LENGTHS if length + _DECODE_ROOM <= context]
    try:
        if part == "scale":
            found = benchmark.scale(lengths, BATCH_SIZES)
            report.single, report.by_length, report.by_batch = found
        elif part == "load":
            report.load = benchmark.benchmark_concurrent_load(_LOAD_CALLERS, options["seconds"])
        elif part == "memory":
            report.memory = benchmark.benchmark_memory_usage(_MEMORY_SIZES)
            report.growth = benchmark.grow()
    except (EngineUnavailableError, RunFailedError, IncompleteRunError) as error:
        report.failures[part] = str(error)
