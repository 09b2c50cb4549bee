"""Turns grammars into states, away from the engine's loop, and remembers them.

A thread of its own tries each new grammar in a child process (`inference.engine.grammar_trial`), then
compiles it here. Child and tokenizer view exist from the first grammar on, so that a model that nobody
asks for structured output pays nothing; the child ends when no new grammar has come for a minute.
"""

from __future__ import annotations

import logging
import queue
import select
import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING

from inference.engine.errors import RequestError
from inference.engine.grammar import GrammarState, one_line, refusal
from inference.engine.grammar_limits import (
    COMPILE_STACK_BYTES,
    MAX_COMPILE_SECONDS,
    compile_grammar,
    make_tokenizer,
)
from inference.engine.grammar_trial import read_frame, write_frame
from inference.protocol import Grammar
from inference.tokenizer import Tokenizer
from llamagpu.lib.error_codes import ErrorCode

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

logger = logging.getLogger(__name__)
Done = Callable[[GrammarState | RequestError], None]

_CACHE_SIZE = 64
_MAX_WAITING = 64
_IDLE_SECONDS = 60.0
# The child's processor time is what is limited; on a busy machine that may take longer.
_MAX_WAIT = 15.0
_CLOSE_SECONDS = 10.0
_TOO_LONG = f"it takes more than {MAX_COMPILE_SECONDS} seconds to compile"


class GrammarCompiler:
    """Serves one model's grammars. `request` is for any thread and never waits."""

    def __init__(
        self, tokenizer: Tokenizer, vocab_size: int, eos_token_ids: SequenceOf[int]
    ) -> None:
        self._source = tokenizer
        self._vocab_size = vocab_size
        self._eos = [token_id for token_id in eos_token_ids if token_id < vocab_size]
        self._lock = threading.Lock()
        self._known: OrderedDict[Grammar, LLMatcher | RequestError] = OrderedDict()
        self._jobs: queue.Queue[tuple[Grammar, Done] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._tokenizer: LLTokenizer | None = None
        self._trial: _Trial | None = None
        self._is_closing = False

    def request(self, grammar: Grammar, done: Done) -> None:
        """Have `done` called with a fresh state, or the refusal: now or from the compiler's thread."""
        found = self._find(grammar)
        if found is not None:
            done(found)
            return
        if self._jobs.qsize() >= _MAX_WAITING:
            message = "too many grammars wait to be compiled; try again later"
            done(RequestError(message, ErrorCode.QUEUE_FULL))
            return
        self._jobs.put((grammar, done))
        if self._thread is None:
            self._thread = _start_with_stack(self._run, COMPILE_STACK_BYTES)

    def close(self) -> None:
        """End thread and child; what waits is never answered."""
        self._is_closing = True
        if self._thread is None:
            return
        self._jobs.put(None)
        trial = self._trial
        if trial is not None:
            trial.kill()
        self._thread.join(_CLOSE_SECONDS)

    def _find(self, grammar: Grammar) -> GrammarState | RequestError | None:
        with self._lock:
            known = self._known.get(grammar)
            if known is None:
                return None
            self._known.move_to_end(grammar)
            return known if isinstance(known, RequestError) else GrammarState(known.deep_copy())

    def _run(self) -> None:
        """The compiler's thread."""
        while True:
            try:
                job = self._jobs.get(timeout=None if self._trial is None else _IDLE_SECONDS)
            except queue.Empty:
                self._end_trial()
                continue
            if job is None or self._is_closing:
                self._end_trial()
                return
            grammar, done = job
            # Somebody may have asked for the same meanwhile.
            result = self._find(grammar)
            if result is None:
                self._learn(grammar)
                result = self._find(grammar)
            done(result or refusal("the grammar could not be compiled"))

    def _learn(self, grammar: Grammar) -> None:
        try:
            found: LLMatcher | RequestError = self._compile(grammar)
        except RequestError as error:
            found = error
        except BaseException as error:  # noqa: BLE001 - a Rust panic derives from BaseException
            logger.warning("a grammar of %d characters failed: %s", len(grammar.text), error)
            found = refusal("the grammar could not be compiled")
        with self._lock:
            self._known[grammar] = found
            while len(self._known) > _CACHE_SIZE:
                self._known.popitem(last=False)

    def _compile(self, grammar: Grammar) -> LLMatcher:
        if self._tokenizer is None:
            try:
                self._tokenizer = make_tokenizer(*self._recipe())
            except ValueError as error:
                detail = one_line(str(error))
                raise refusal(f"this model's tokenizer allows no grammar: {detail}") from error
        if self._trial is None:
            self._trial = _Trial(self._recipe())
        reason = self._trial.ask(grammar)
        if not self._trial.is_alive:
            self._end_trial()
        if reason is not None:
            raise refusal(one_line(reason))
        matcher, complaint = compile_grammar(self._tokenizer, grammar)
        if complaint:
            raise refusal(one_line(complaint))
        return matcher

    def _recipe(self) -> tuple[str, int, list[int]]:
        return self._source.to_json(), self._vocab_size, self._eos

    def _end_trial(self) -> None:
        if self._trial is not None:
            self._trial.close()
            self._trial = None


class _Trial:
    """The child process and its pipes."""

    def __init__(self, recipe: tuple[str, int, list[int]]) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "inference.engine.grammar_trial"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.is_alive = True
        self._recipe: tuple[str, int, list[int]] | None = recipe

    def ask(self, grammar: Grammar) -> str | None:
        """None for a grammar that can be compiled, else the reason. The child may not survive it."""
        pipe_in, pipe_out = self._child.stdin, self._child.stdout
        if pipe_in is None or pipe_out is None:
            raise RuntimeError("the child has no pipes")
        try:
            if self._recipe is not None:
                write_frame(pipe_in, self._recipe)
                self._recipe = None
            write_frame(pipe_in, (grammar.kind, grammar.text))
            if not select.select([pipe_out], [], [], _MAX_WAIT)[0]:
                self.close()
                return _TOO_LONG
            answer: str | None = read_frame(pipe_out)
        except (EOFError, OSError):
            self.close()
            if self._child.returncode == -signal.SIGPROF:
                return _TOO_LONG
            logger.warning("a grammar ended its trial: status %s", self._child.returncode)
            return "it is too deep or too large to compile"
        return answer

    def kill(self) -> None:
        """End a child that computes, from another thread; `ask` returns."""
        self._child.kill()

    def close(self) -> None:
        """End the child; it holds nothing worth saving."""
        self.is_alive = False
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    logger.debug("the child was gone")
        try:
            # One that died of the grammar is to keep its own exit status.
            self._child.wait(0.2)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def _start_with_stack(target: Callable[[], None], size: int) -> threading.Thread:
    """A daemon thread with a stack of `size` bytes."""
    before = threading.stack_size(size)
    try:
        thread = threading.Thread(target=target, name="grammars", daemon=True)
        thread.start()
    finally:
        threading.stack_size(before)
    return thread
