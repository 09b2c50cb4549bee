"""`python -m inference.engine.trial`: prove and measure a device with a random Llama.

Prints what was found as a table, or with `--json` as one object. Exit status: 0 right, 1 the logits
differ from float32's by more than rounding, 2 it could not be tried.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
import time
from typing import Any

import torch

from inference.engine.config import EngineConfig
from inference.engine.errors import EngineError, LoadError
from inference.engine.loading import LoadedModel
from inference.engine.memory import available_bytes
from inference.engine.paged.serving import (
    GRAPH_LEVEL,
    PagedServing,
    build_paged,
    record_graphs,
)
from inference.engine.quantized_linear import quantize_linears
from inference.engine.trial.parity import compare
from inference.engine.trial.random_llama import SHAPES, LlamaShape, make_llama, weight_bytes
from inference.engine.trial.speed import (
    measure_bandwidth,
    measure_decode,
    measure_prefill,
    peak_bytes,
)

_INT8_LEVEL = 2
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.15, torch.float16: 0.05}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_PARITY_TOKENS = 700
_PARITY_DECODES = 8
_PARITY_CHUNK = 256


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        report = run_trial(options)
    except (EngineError, RuntimeError, MemoryError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write((json.dumps(report) if options.json else describe(report)) + "\n")
    return 0 if report["parity"]["is_right"] else 1


def run_trial(options: argparse.Namespace) -> dict[str, Any]:
    """Make the model, serve it, compare, measure; JSON-ready. Raises what torch and loading raise."""
    device = _device(options.device)
    default = "float32" if device.type == "cpu" else "bfloat16"
    dtype = _DTYPES[default if options.dtype == "auto" else options.dtype]
    shape = _shape(options)
    bandwidth = measure_bandwidth(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    started = time.perf_counter()
    loaded = make_llama(shape, device, dtype)
    if options.level >= _INT8_LEVEL:
        quantize_linears(loaded.model)
    serving = _serve(loaded, options, device)
    ready_seconds = time.perf_counter() - started
    num_parity = min(_PARITY_TOKENS, serving.capacity.max_model_len)
    token_ids = [(31 * index * index + 5) % shape.vocab_size for index in range(num_parity)]
    parity = compare(loaded, serving, token_ids, chunk=_PARITY_CHUNK, num_decodes=_PARITY_DECODES)
    num_bytes = weight_bytes(loaded.model)
    per_token = loaded.files.kv_bytes_per_token(dtype.itemsize)
    decode = [
        measure_decode(
            serving,
            batch=batch,
            context=options.context,
            num_steps=options.steps,
            bytes_per_token=per_token,
            weight_bytes=num_bytes,
            bandwidth=bandwidth,
        )
        for batch in options.batch
    ]
    return {
        **_facts(options, device, loaded, serving),
        "weight_bytes_read": num_bytes,
        "bandwidth_bytes_per_second": bandwidth,
        "ready_seconds": ready_seconds,
        "parity": {
            **dataclasses.asdict(parity),
            # NaN compares False, and must not pass.
            "is_right": parity.difference <= _TOLERANCE[dtype],
        },
        "prefill_tokens_per_second": measure_prefill(serving, options.prefill),
        "decode": [dataclasses.asdict(speed) for speed in decode],
        "peak_bytes": peak_bytes(device),
    }


def _facts(
    options: argparse.Namespace, device: torch.device, loaded: LoadedModel, serving: PagedServing
) -> dict[str, Any]:
    graphs = serving.runner.graphs
    return {
        "device": _name(device),
        "torch": str(torch.__version__),
        "shape": options.shape,
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "level": options.level,
        "context": options.context,
        "attention": "varlen" if serving.runner.uses_varlen else "gathered",
        "graph_batch_sizes": list(graphs.sizes) if graphs is not None else [],
        "num_parameters": loaded.files.num_parameters,
    }


def describe(report: dict[str, Any]) -> str:
    """The report as text."""
    parity = report["parity"]
    graphs = report["graph_batch_sizes"]
    lines = [
        f"{report['device']}, torch {report['torch']}, {report['shape']}: "
        f"{report['num_parameters'] / 1e9:.2f} billion random weights, {report['dtype']}, "
        f"level {report['level']}",
        f"attention {report['attention']}; graphs for batches of "
        f"{', '.join(map(str, graphs)) or 'nothing'}; ready in {report['ready_seconds']:.1f} s",
        f"against float32: {'right' if parity['is_right'] else 'WRONG'}, largest difference "
        f"{parity['difference']:.1e} of the spread, {parity['agreement']:.1%} of "
        f"{parity['num_positions']} most likely tokens equal",
        f"bandwidth {report['bandwidth_bytes_per_second'] / 1e9:.0f} GB/s; prefill "
        f"{report['prefill_tokens_per_second']:.0f} tokens/s; peak memory "
        f"{report['peak_bytes'] / 1024**3:.2f} GiB",
        f"decode at {report['context']} tokens of context:",
        " batch   tokens/s   ms/step   of the floor",
    ]
    lines += [
        f"{speed['batch']:6d} {speed['tokens_per_second']:10.1f} "
        f"{speed['step_seconds'] * 1e3:9.2f} {speed['floor_share']:13.0%}"
        for speed in report["decode"]
    ]
    return "\n".join(lines)


def _serve(loaded: LoadedModel, options: argparse.Namespace, device: torch.device) -> PagedServing:
    config = EngineConfig(
        num_slots=max(options.batch),
        max_model_len=max(options.context + options.steps + 64, options.prefill, _PARITY_TOKENS),
        prefill_budget=max(options.prefill, 64),
    )
    serving = build_paged(loaded, config, _free_bytes)
    if options.level >= GRAPH_LEVEL and device.type == "cuda":
        record_graphs(serving, lambda stage, fraction: None)
    return serving


def _shape(options: argparse.Namespace) -> LlamaShape:
    changes = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(LlamaShape)
        if getattr(options, field.name, None) is not None and field.name != "context"
    }
    needed = max(options.context + options.steps + 64, options.prefill, _PARITY_TOKENS)
    base = SHAPES[options.shape]
    shape = dataclasses.replace(base, **changes, context=max(base.context, needed))
    if shape.hidden_size % shape.num_heads or shape.num_heads % shape.num_kv_heads:
        raise LoadError(
            f"{shape.num_heads} heads do not divide {shape.hidden_size} channels, or "
            f"{shape.num_kv_heads} kv heads do not divide them"
        )
    return shape


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda", 0) if name == "cuda" else torch.device(name)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _free_bytes(device: torch.device) -> int | None:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m inference.benchmark.gpu", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    for field in ("num_layers", "hidden_size", "intermediate_size", "num_heads", "num_kv_heads"):
        parser.add_argument(f"--{field.replace('_', '-')}", type=int)
    parser.add_argument("--head-dim", type=int)
    parser.add_argument("--vocab-size", type=int)
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N or cpu")
    parser.add_argument("--dtype", choices=("auto", *_DTYPES), default="auto")
    parser.add_argument("--level", type=int, choices=(0, 1, 2), default=1)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--context", type=int, default=512, help="tokens in the cache")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--prefill", type=int, default=512, help="tokens of the prompt chunk")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
