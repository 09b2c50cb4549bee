"""Guesses what follows by looking the last tokens up in what was said before (no torch).

Prompt lookup decoding (Saxena, 2023): answers repeat names, code and phrases of their prompt, and
the guess costs a dictionary access. Whether it is right, the model says.
"""

from __future__ import annotations

from collections.abc import Iterable

# Longer matches first: they are right more often.
_SIZES = (3, 2)


class PromptLookup:
    """An index of a growing list of tokens; a token costs constant time."""

    def __init__(self, tokens: Iterable[int] = ()) -> None:
        self._tokens: list[int] = []
        # By length: where the latest occurrence of these tokens goes on.
        self._next: dict[int, dict[tuple[int, ...], int]] = {size: {} for size in _SIZES}
        self.extend(tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """Add tokens at the end."""
        known = self._tokens
        for token in tokens:
            position = len(known)
            for size, index in self._next.items():
                if position >= size:
                    index[tuple(known[-size:])] = position
            known.append(token)

    def propose(self, num_tokens: int) -> list[int]:
        """Up to `num_tokens` that may follow; none where the last tokens are new.

        A match that reaches the end goes on with the guess itself: a loop is continued.
        """
        for size, index in self._next.items():
            start = index.get(tuple(self._tokens[-size:]))
            if start is not None:
                guess = self._tokens[start : start + num_tokens]
                while len(guess) < num_tokens:
                    guess.append(guess[start + len(guess) - len(self._tokens)])
                return guess
        return []
