"""How close a model at some level of optimization stays to its float32 self, over a fixed text.

`python -m inference.engine.quality --model PATH [--level N ...]` prints a line per level. Exit status:
0 all within the limit, 1 one is not or cannot be measured (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec

from inference.engine.config import BACKENDS, DTYPES, MAX_LEVEL
from inference.engine.errors import EngineError
from inference.engine.quality.comparison import DECODED_LIMIT, PERPLEXITY_LIMIT
from inference.engine.quality.gate import Judgement, judge
from inference.engine.quality.task import Subject

_HEADER = (
    f"{'':<20}{'perplexity':>11}{'ratio':>8}{'decoded':>9}{'top-1':>8}"
    f"{'mean |d|':>10}{'max |d|':>9}{'seconds':>9}"
)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parse(arguments)
    subject = Subject(
        model=str(options.model),
        dtype=options.dtype,
        backend=options.backend,
        num_threads=options.threads,
    )
    reference = replace(
        subject,
        model=str(options.reference_model or options.model),
        level=options.reference_level,
        dtype="float32",
    )
    subjects = [replace(subject, level=level) for level in options.level or [None]]
    try:
        judgements = judge(reference, subjects, num_tokens=options.tokens)
        passes = _report_json(judgements) if options.json else _report_table(judgements)
    except EngineError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if passes else 1


def _report_table(judgements: Iterable[Judgement]) -> bool:
    """Print a line per judgement as it comes; whether all pass."""
    passes, is_first = True, True
    for judgement in judgements:
        comparison = judgement.comparison
        if is_first:
            print(
                f"{comparison.num_tokens} tokens, perplexity in float32 "
                f"{comparison.reference_perplexity:.3f}; |d|: difference of log-probabilities\n"
                f"{_HEADER}",
                flush=True,
            )
        passes, is_first = passes and comparison.passes, False
        print(
            f"{judgement.subject.title:<20}{_figures(judgement)}  {_verdict(comparison.passes)}",
            flush=True,
        )
    return passes


def _figures(judgement: Judgement) -> str:
    comparison = judgement.comparison
    return (
        f"{comparison.perplexity:>11.3f}{comparison.perplexity_ratio:>8.4f}"
        f"{comparison.decoded_ratio:>9.4f}{comparison.top1_agreement:>8.1%}"
        f"{comparison.mean_difference:>10.4f}{comparison.max_difference:>9.3f}"
        f"{judgement.measure_seconds:>9.1f}"
    )


def _verdict(passes: bool) -> str:
    if passes:
        return "passes"
    return f"FAILS: the limits are {PERPLEXITY_LIMIT}, decoded {DECODED_LIMIT}"


def _report_json(judgements: Iterable[Judgement]) -> bool:
    """Print one object with all judgements; whether all pass."""
    items = [_fields(judgement) for judgement in judgements]
    passes = all(item["passes"] for item in items)
    limits = {"perplexity_limit": PERPLEXITY_LIMIT, "decoded_limit": DECODED_LIMIT}
    # Unlike json, msgspec writes NaN as null, as the standard asks.
    print(msgspec.json.encode({"passes": passes, **limits, "levels": items}).decode())
    return passes


def _fields(judgement: Judgement) -> dict[str, Any]:
    return {
        **asdict(judgement.subject),
        **asdict(judgement.comparison),
        "passes": judgement.comparison.passes,
        "load_seconds": round(judgement.load_seconds, 3),
        "measure_seconds": round(judgement.measure_seconds, 3),
    }


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m inference.engine.quality", description=__doc__)
    levels = range(MAX_LEVEL + 1)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument(
        "--level",
        type=int,
        nargs="+",
        choices=levels,
        help="what to judge (default: the level that is served by default)",
    )
    parser.add_argument("--reference-level", type=int, default=0, choices=levels)
    parser.add_argument(
        "--reference-model", type=Path, help="compare with another folder of the same tokenizer"
    )
    parser.add_argument("--tokens", type=int, help="only so many of the text (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--backend", choices=BACKENDS, default="auto")
    parser.add_argument("--dtype", choices=DTYPES, default="auto", help="of what is judged")
    parser.add_argument("--threads", type=int)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
