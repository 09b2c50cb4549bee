"""A report as Markdown tables: readable on a terminal, and as they stand in docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inference.benchmark.comparison import Comparison, EngineResult
from inference.benchmark.figures import Spread
from inference.benchmark.report import Report, median_of, speed_spread
from inference.benchmark.targets import FigureTarget, Judged, RatioTarget
from inference.benchmark.workloads import Workload

_NONE = "-"
_MB = 10**6


def render(report: Report) -> str:
    """The whole report."""
    return "\n".join(_lines(report))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns are as wide as they must be; the first is left-aligned."""
    cells = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0], *["-" * (width - 1) + ":" for width in widths[1:]]]
    return [line(cells[0]), line(rule), *[line(row) for row in cells[1:]]]


def _lines(report: Report) -> Iterator[str]:
    machine = report.machine
    memory = machine.memory_bytes / 2**30
    yield f"{report.model}, commit {machine.commit}, {machine.date}, Python {machine.python}"
    yield (
        f"{machine.processor}, cores {', '.join(map(str, machine.cores))}, {memory:.0f} GiB, "
        f"{machine.instructions or 'no vector instructions of note'}; "
        f"load before the start {machine.load_before:.1f}"
    )
    if report.comparison is not None:
        yield from _comparison(report.comparison)
        ratios = [one for one in report.judged_ratios() if _is_asked(one, report.comparison)]
        if ratios:
            yield from ("", "Ratios: ours / peer, neighbouring runs", "")
            yield from _judged(ratios)
    if report.comparison is not None or report.growth is not None:
        yield from ("", "Figures of ours", "")
        yield from _judged(report.judged_figures())
    yield from _scale(report)
    yield from _memory(report)
    if report.failures:
        yield ""
        yield from (f"FAILED {part}: {reason}" for part, reason in report.failures.items())


def _comparison(comparison: Comparison) -> Iterator[str]:
    yield from ("", "Tokens per second: median (lowest to highest)", "")
    head = ["engine", *[workload.name for workload in comparison.workloads]]
    rows = [
        [name, *[_speed(result, workload) for workload in comparison.workloads]]
        for name, result in comparison.results.items()
    ]
    yield from table(head, rows)
    yield from ("", "Milliseconds: first token p50; between tokens p50 / p99", "")
    rows = [
        [name, *[_latency(result, workload) for workload in comparison.workloads]]
        for name, result in comparison.results.items()
    ]
    yield from table(head, rows)
    yield from ("", "Engines", "")
    head = ["engine", "version", "precision", "spoken to by", "load s", "resident MB"]
    yield from table(head, [_engine(result) for result in comparison.results.values()])
    for name, reason in comparison.missing.items():
        yield ""
        yield f"MISSING {name}: {reason}"


def _speed(result: EngineResult, workload: Workload) -> str:
    runs = result.runs.get(workload.name)
    if not runs:
        return "missing" if result.missing else _NONE
    return _spread(speed_spread(runs), 0)


def _latency(result: EngineResult, workload: Workload) -> str:
    runs = result.runs.get(workload.name, [])
    first = _ms(median_of(runs, "ttft_p50"))
    if workload.new_tokens == 1:
        return first
    return f"{first}; {_ms(median_of(runs, 'gap_p50'))} / {_ms(median_of(runs, 'gap_p99'))}"


def _engine(result: EngineResult) -> list[str]:
    about = result.description
    if about is None:
        return [result.name, "missing", _NONE, _NONE, _NONE, _NONE]
    resident = f"{result.resident_bytes / _MB:.0f}" if result.resident_bytes else _NONE
    facts = (about.version, about.precision, about.transport, f"{about.load_time:.1f}")
    return [result.name, *facts, resident]


def _is_asked(one: Judged, comparison: Comparison) -> bool:
    return isinstance(one.target, RatioTarget) and one.target.peer in comparison.results


def _judged(judged: Sequence[Judged]) -> list[str]:
    return table(["what", "target", "measured", "verdict"], [_judged_row(one) for one in judged])


def _judged_row(one: Judged) -> list[str]:
    target = one.target
    if isinstance(target, RatioTarget):
        name, wanted = f"{target.workload} / {target.peer}", f">= {target.factor:g} x"
    else:
        name, wanted = target.figure, _limit(target)
    measured = _NONE if one.measured is None else _spread(one.measured, 2)
    return [name, wanted, measured, one.verdict]


def _limit(target: FigureTarget) -> str:
    return f"{'<=' if target.is_ceiling else '>='} {target.limit:g} {target.unit}"


def _scale(report: Report) -> Iterator[str]:
    if report.single is not None:
        single = report.single
        yield ""
        yield (
            f"Single requests: {_ms(single.latency_p50)} ms p50, {_ms(single.latency_p99)} ms p99, "
            f"first token {_ms(single.ttft_p50)} ms"
        )
    if report.by_length:
        yield from ("", "Cost against the length of the prompt", "")
        yield from table(
            ["prompt tokens", "prefill ms", "ms per prompt token", "ms per new token"],
            [
                [
                    str(cost.prompt_tokens),
                    f"{cost.prefill_ms:.1f}",
                    f"{cost.prefill_ms_per_token:.3f}",
                    f"{cost.decode_ms_per_token:.2f}",
                ]
                for cost in report.by_length
            ],
        )
    if report.by_batch:
        yield from ("", "Cost against the size of the batch", "")
        yield from table(
            ["batch", "ms per step", "ms per token", "tok/s"],
            [
                [
                    str(cost.batch_size),
                    f"{cost.ms_per_step:.2f}",
                    f"{cost.ms_per_token:.2f}",
                    f"{cost.tokens_per_second:.0f}",
                ]
                for cost in report.by_batch
            ],
        )


def _memory(report: Report) -> Iterator[str]:
    if report.load is not None:
        load = report.load
        yield ""
        yield (
            f"Load: {load.num_threads} callers for {load.duration:.1f} s, {load.num_requests} "
            f"requests, {load.tokens_per_second:.0f} tok/s, first token {_ms(load.ttft_p50)} ms "
            f"p50, {_ms(load.ttft_p99)} ms p99, between tokens {_ms(load.gap_p99)} ms p99"
        )
    if report.memory:
        yield from ("", "Resident memory", "")
        yield from table(
            ["slots x tokens", "loaded MB", "after a full batch MB"],
            [
                [
                    f"{use.num_slots} x {use.max_model_len}",
                    f"{use.loaded_bytes / _MB:.0f}",
                    f"{use.used_bytes / _MB:.0f}",
                ]
                for use in report.memory
            ],
        )
    if report.growth is not None:
        growth = report.growth
        yield ""
        yield (
            f"Memory over {growth.num_requests} short requests: first {growth.first_bytes / _MB:.1f} "
            f"MB; second half mean {growth.mean_bytes / _MB:.1f}, max {growth.max_bytes / _MB:.1f}, "
            f"growth {growth.growth_bytes / _MB:.1f} MB"
        )


def _spread(values: Spread, digits: int) -> str:
    if values.count == 1:
        return f"{values.median:.{digits}f}"
    return f"{values.median:.{digits}f} ({values.low:.{digits}f} to {values.high:.{digits}f})"


def _ms(seconds: float | None) -> str:
    return _NONE if seconds is None else f"{seconds * 1000:.1f}"
