"""Compiles grammars where that can do no harm: in a child process, `python -m …grammar_trial`.

A schema of a few lines can make llguidance compute for hours (`multipleOf`), or recurse until the stack
overflows, which ends the process. So a grammar is compiled here first, with limits on processor
time, memory and stack that end this process instead of the engine's.

Frames both ways are a 4-byte big-endian length and UTF-8 JSON: in comes the tokenizer, once, then
grammars; out comes one answer for each, null or the reason of the refusal.
"""

from __future__ import annotations

import ctypes
import json
import resource
import signal
import struct
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

from inference.engine.grammar_limits import (
    MAX_COMPILE_BYTES,
    MAX_COMPILE_SECONDS,
    TRIAL_STACK_BYTES,
    compile_grammar,
    make_tokenizer,
)
from inference.protocol import Grammar, GrammarKind

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_HEADER = struct.Struct(">I")
_PR_SET_PDEATHSIG = 1
# Address space: an allocation that is refused ends the process, which the engine takes for a no.
_MAX_ADDRESS_SPACE = 4 << 30


def write_frame(stream: IO[bytes], message: Any) -> None:
    """Raises OSError where nobody reads."""
    body = json.dumps(message).encode()
    stream.write(_HEADER.pack(len(body)) + body)
    stream.flush()


def read_frame(stream: IO[bytes]) -> Any:
    """The next message. Raises EOFError at the end."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    (length,) = _HEADER.unpack(header)
    body = stream.read(length)
    if len(body) < length:
        raise EOFError
    return json.loads(body)


def try_grammar(tokenizer: LLTokenizer, grammar: Grammar) -> str | None:
    """The reason why `grammar` cannot be served, None where it can."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        _, complaint = compile_grammar(tokenizer, grammar)
    except ValueError as error:
        return str(error)
    if complaint:
        return complaint
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if grown > MAX_COMPILE_BYTES:
        return f"it needs more than {MAX_COMPILE_BYTES >> 20} MiB of memory"
    return None


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    tokenizer = make_tokenizer(*read_frame(requests))
    while True:
        try:
            kind, text = read_frame(requests)
        except EOFError:
            return
        # A second of processor time and a bit, whatever was used before; its signal ends the process.
        signal.setitimer(signal.ITIMER_PROF, MAX_COMPILE_SECONDS)
        reason = try_grammar(tokenizer, Grammar(GrammarKind(kind), text))
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        write_frame(answers, reason)


def main() -> int:
    """Serve until the engine closes the pipe or is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_ADDRESS_SPACE, _MAX_ADDRESS_SPACE))
    threading.stack_size(TRIAL_STACK_BYTES)
    worker = threading.Thread(target=_serve, args=(sys.stdin.buffer, sys.stdout.buffer))
    worker.start()
    worker.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
