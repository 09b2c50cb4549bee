"""Requests whose grammar is being compiled: received, but not in the scheduler's queue yet."""

from __future__ import annotations

from collections.abc import Callable

from inference.engine.errors import RequestError
from inference.engine.grammar import GrammarState
from inference.engine.grammar_compiler import GrammarCompiler
from inference.engine.sequence import Sequence

# How late a deadline may be noticed while nothing but compiling goes on.
_PATIENCE = 0.2

Post = Callable[[Callable[[], None]], None]


class PendingGrammars:
    """For the loop's thread. `post` hands an action to the loop from another thread."""

    def __init__(self, compiler: GrammarCompiler, post: Post) -> None:
        self._compiler = compiler
        self._post = post
        self._held: dict[str, Sequence] = {}

    @property
    def patience(self) -> float | None:
        """Seconds after which the loop must look at deadlines again; None for never."""
        return _PATIENCE if self._held else None

    def hold(
        self,
        sequence: Sequence,
        ready: Callable[[Sequence], None],
        refused: Callable[[Sequence, RequestError], None],
    ) -> bool:
        """Keep a sequence whose grammar is not compiled; False where there is nothing to wait for.

        Later one of `ready` and `refused` is called on the loop's thread, unless `drop` comes first.
        """
        grammar = sequence.params.grammar
        if grammar is None or sequence.grammar is not None:
            return False
        self._held[sequence.request_id] = sequence

        def settle(result: GrammarState | RequestError) -> None:
            if not self.drop(sequence):
                return
            if isinstance(result, RequestError):
                refused(sequence, result)
            else:
                sequence.grammar = result
                ready(sequence)

        self._compiler.request(grammar, lambda result: self._post(lambda: settle(result)))
        return True

    def find(self, request_id: str) -> Sequence | None:
        return self._held.get(request_id)

    def all(self) -> list[Sequence]:
        return list(self._held.values())

    def expired(self, now: float) -> list[Sequence]:
        """Those whose deadline has passed."""
        return [sequence for sequence in self._held.values() if sequence.deadline <= now]

    def drop(self, sequence: Sequence) -> bool:
        """Forget a sequence; whether it was held."""
        if self._held.get(sequence.request_id) is not sequence:
            return False
        del self._held[sequence.request_id]
        return True
