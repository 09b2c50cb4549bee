"""Replaces what the finders find, and says how far a growing text can be judged already."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import regex

from .finders import KINDS, Span

# Seconds that one pattern of an operator's may take for one text: then it is a fault.
_PATTERN_TIME = 0.2
# What does not end within so many characters is no piece of personal data.
_MAX_HELD = 4096
# Digits, and what stands between them in phone and card numbers.
_IN_NUMBERS = "0123456789 ()+./-"
_NUMBER_START = re.compile(r"[0-9(+]")
_IBAN_TAIL = re.compile(r"(?<!\w)[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){0,30} ?\Z")
_LONGEST_IBAN = 66


class Redactor:
    """Nothing changes once it is made, so threads may share one."""

    def __init__(self, kinds: Sequence[str], patterns: Mapping[str, str], placeholder: str) -> None:
        """Raises ValueError for a pattern that cannot be read."""
        self._kinds = tuple(kinds)
        self._placeholder = placeholder
        self._patterns: dict[str, regex.Pattern[str]] = {}
        for name, pattern in patterns.items():
            try:
                self._patterns[name] = regex.compile(pattern)
            except regex.error as error:
                raise ValueError(f"patterns: '{name}': {error}") from error

    def redact(self, text: str) -> str:
        """Raises TimeoutError where a pattern takes too long."""
        if not text:
            return text
        for kind in self._kinds:
            text = self._without(text, kind, KINDS[kind](text))
        for name, pattern in self._patterns.items():
            found = pattern.finditer(text, timeout=_PATTERN_TIME)
            text = self._without(text, name, (match.span() for match in found))
        return text

    def settled(self, text: str) -> int:
        """Up to where nothing that follows can change what is found.

        Words are judged whole, numbers and IBANs with their blanks. Raises TimeoutError.
        """
        if len(text) > _MAX_HELD:
            return len(text)
        cut = len(text)
        for pattern in self._patterns.values():
            for match in pattern.finditer(text, partial=True, timeout=_PATTERN_TIME):
                if match.partial or match.end() == len(text):
                    cut = min(cut, match.start())
                    break
        while True:  # until the cut is in the middle of nothing
            word = _start_of_word(text, cut)
            cut = min(_start_of_numbers(text, word), _start_of_iban(text, word))
            if cut == word:
                return cut

    def _without(self, text: str, kind: str, spans: Iterable[Span]) -> str:
        parts, at = [], 0
        instead = self._placeholder.replace("{kind}", kind.upper())
        for start, end in sorted(spans):
            if start >= at and end > start:
                parts += [text[at:start], instead]
                at = end
        return "".join([*parts, text[at:]]) if parts else text


def _start_of_numbers(text: str, word: int) -> int:
    """Where the digits begin that go on in the last word, which begins at `word`."""
    if text[word : word + 1].strip(_IN_NUMBERS):
        return word
    tail = len(text[:word].rstrip(_IN_NUMBERS))
    start = _NUMBER_START.search(text, tail, word)
    return start.start() if start else word


def _start_of_iban(text: str, word: int) -> int:
    start = _IBAN_TAIL.search(text, max(0, word - _LONGEST_IBAN), word)
    return start.start() if start else word


def _start_of_word(text: str, at: int) -> int:
    while at > 0 and not text[at - 1].isspace():
        at -= 1
    return at
