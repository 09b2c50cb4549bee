"""What can be asked of a benchmark, for both of its doors."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from inference.benchmark.engines.base import MeasuredEngine, Setting
from inference.benchmark.engines.llama_cpp import LlamaCppEngine
from inference.benchmark.engines.openvino import OpenVinoEngine
from inference.benchmark.engines.portal import (
    PortalEngine,
    UvicornPortalEngine,
    WholePortalEngine,
)
from inference.benchmark.engines.transformers import TransformersEngine
from inference.benchmark.engines.vllm import VllmEngine
from inference.benchmark.report import OURS
from inference.benchmark.workloads import CONCURRENCY, NEW_TOKENS, PROMPT_TOKENS
from llamagpu.lib.config import LlamaConfig

PEERS: dict[str, Callable[[Setting], MeasuredEngine]] = {
    OpenVinoEngine.name: OpenVinoEngine,
    LlamaCppEngine.name: LlamaCppEngine,
    VllmEngine.name: VllmEngine,
    TransformersEngine.name: TransformersEngine,
}
#: No peers: our own portal around our own engine, for what its stages and its HTTP take away.
PORTALS: dict[str, Callable[[Setting], MeasuredEngine]] = {
    PortalEngine.name: PortalEngine,
    UvicornPortalEngine.name: UvicornPortalEngine,
    WholePortalEngine.name: WholePortalEngine,
}
PARTS = ("compare", "scale", "load", "memory")


def add_arguments(parser: argparse.ArgumentParser, config: LlamaConfig) -> None:
    """The options; `config` is the installation's own."""
    model, data_dir = config.model_path / config.default_model, config.data_dir
    parser.set_defaults(engine_cache_dir=config.cache_dir)
    parser.add_argument(
        "--engines",
        type=_names((OURS, *PEERS, *PORTALS)),
        default=(OURS, *PEERS),
        help=f"which to compare; ours always runs (default: all of {OURS},{','.join(PEERS)}); "
        f"{', '.join(PORTALS)} are our engine again behind the whole portal, with answers that are "
        "streamed, by daphne or uvicorn, or come as one",
    )
    parser.add_argument(
        "--parts", type=_names(PARTS), default=PARTS, help=f"default: all of {','.join(PARTS)}"
    )
    parser.add_argument(
        "--concurrency",
        type=_numbers,
        default=CONCURRENCY,
        help=f"callers at once (default {','.join(map(str, CONCURRENCY))})",
    )
    parser.add_argument("--repeat", type=_number, default=5, help="repetitions (default 5)")
    parser.add_argument(
        "--prompt-tokens", type=_number, default=PROMPT_TOKENS, help=f"default {PROMPT_TOKENS}"
    )
    parser.add_argument(
        "--new-tokens", type=_number, default=NEW_TOKENS, help=f"default {NEW_TOKENS}"
    )
    parser.add_argument(
        "--optimization-level", type=int, help="of our engine (default: its fastest)"
    )
    parser.add_argument("--backend", default="auto", help="of our engine (default auto)")
    parser.add_argument("--cores", type=_number, default=2, help="for all engines (default 2)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the load part (default 10)")
    parser.add_argument("--model", type=Path, default=model, help=f"model folder (default {model})")
    parser.add_argument("--gguf", type=Path, help="the same model for llama.cpp, if not built in")
    parser.add_argument(
        "--cache-dir",
        type=Path,
        default=data_dir / "benchmark",
        help="where the peers' environments are kept: several GB (default %(default)s)",
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="succeed even if a peer has no figures"
    )
    parser.set_defaults(report_dir=config.benchmark_dir)
    parser.add_argument(
        "--save", action="store_true", help="keep the report for the page Monitoring and the API"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def make_peers(names: tuple[str, ...], setting: Setting) -> list[MeasuredEngine]:
    """The peers among `names`, in the order of the table."""
    known = {**PEERS, **PORTALS}
    return [make(setting) for name, make in known.items() if name in names]


def _names(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(part.strip() for part in text.split(",") if part.strip())
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown) or 'nothing'} is not among {', '.join(known)}"
            )
        return names

    return parse


def _number(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_number(part) for part in text.split(","))
