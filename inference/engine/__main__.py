"""One prompt from the shell: `python -m inference.engine --model PATH "prompt"`.

Streams the text to stdout. Needs no server, database or broker. Exit status: 0 done, 1 the model or
the request failed (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from inference.engine.config import BACKENDS, DTYPES, EngineConfig
from inference.engine.errors import EngineError
from inference.engine.threads import calm_waiting_threads
from inference.protocol import (
    Delta,
    EngineEvent,
    Failed,
    Finished,
    Prompt,
    SamplingParams,
    Submit,
)
from inference.wire import to_builtins

if TYPE_CHECKING:
    from inference.engine.startup import RunningEngine

_REQUEST_ID = "command-line"
_TIMEOUT = 3600.0


class _Conversation:
    """Shows the one request's events and remembers how it ended."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.outcome: Finished | Failed | None = None
        self.is_reader_gone = False
        self.running: RunningEngine | None = None

    def emit(self, events: list[EngineEvent]) -> None:
        for event in events:
            if isinstance(event, Delta) and not self._as_json:
                self._show(event.text)
            elif isinstance(event, Finished | Failed):
                self.outcome = event
                self._stop()

    def _show(self, text: str) -> None:
        try:
            print(text, end="", flush=True)
        except BrokenPipeError:
            # As with `| head`: whoever reads has seen enough.
            self.is_reader_gone = True
            self._stop()

    def _stop(self) -> None:
        if self.running is not None:
            self.running.engine.stop()


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parse(arguments)
    calm_waiting_threads()
    from inference.engine.startup import start_engine

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    conversation = _Conversation(as_json=options.json)
    try:
        started = time.monotonic()
        running = start_engine(options.model, _config(options), conversation.emit)
        load_time = time.monotonic() - started
        conversation.running = running
        text = sys.stdin.read() if options.prompt == "-" else options.prompt
        running.engine.submit(Submit(_REQUEST_ID, Prompt(text=text), _params(options), _TIMEOUT))
        running.engine.run()
    except EngineError as error:
        return _complain(error.message)
    except KeyboardInterrupt:
        return 130
    if conversation.is_reader_gone:
        # Python flushes at exit and would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    outcome = conversation.outcome
    if not isinstance(outcome, Finished):
        return _complain(outcome.message if outcome is not None else "no answer came")
    if options.json:
        print(json.dumps({**to_builtins(outcome), "load_time": round(load_time, 3)}))
    else:
        print()
    return 0


def _complain(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def _config(options: argparse.Namespace) -> EngineConfig:
    return EngineConfig(
        num_slots=1,
        max_model_len=options.max_model_len,
        num_threads=options.threads,
        backend=options.backend,
        dtype=options.dtype,
    )


def _params(options: argparse.Namespace) -> SamplingParams:
    return SamplingParams(
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        min_p=options.min_p,
        repetition_penalty=options.repetition_penalty,
        stop=tuple(options.stop),
        seed=options.seed,
        logprobs=options.logprobs,
    )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m inference.engine", description=__doc__)
    parser.add_argument("prompt", help="the text, or - to read it from stdin")
    parser.add_argument("--model", type=Path, required=True, help="model folder or GGUF file")
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--temperature", type=float, default=1.0, help="0 is greedy")
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--top-k", type=int, default=0)
    parser.add_argument("--min-p", type=float, default=0.0)
    parser.add_argument("--repetition-penalty", type=float, default=1.0)
    parser.add_argument("--stop", action="append", default=[], help="may be given several times")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--logprobs", type=int)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the text")
    parser.add_argument("--backend", choices=BACKENDS, default="auto")
    parser.add_argument("--dtype", choices=DTYPES, default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--max-model-len", type=int)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
