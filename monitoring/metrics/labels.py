"""Bounds of labels: whatever a caller sends, a family keeps a limited number of series."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Key = tuple[str, ...]

#: Different values of one label that a process tells apart; whatever comes later is `OTHER`.
MAX_VALUES = 64
#: Series of one family in a process; whatever comes later is `OTHER` in every label.
MAX_SERIES = 1000
MAX_LENGTH = 80
OTHER = "other"

# Control characters would break the fields in Redis and the lines of the exposition.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class LabelSpace:
    """The label values that one family has met. Its owner's lock guards it."""

    def __init__(self, names: Sequence[str], max_values: int) -> None:
        self._names = tuple(names)
        self._max_values = max_values
        self._values: list[set[str]] = [set() for _ in self._names]
        self._keys: dict[tuple[Any, ...], Key] = {}

    def find(self, labels: Mapping[str, Any]) -> Key:
        """The series of `labels`. Raises ValueError for other names than the declared ones."""
        try:
            raw = tuple([labels[name] for name in self._names])
        except KeyError as error:
            raise ValueError(f"the label {error} is missing: {self._names}") from None
        if len(raw) != len(labels):
            raise ValueError(f"the labels are {self._names}, not {tuple(labels)}")
        key = self._keys.get(raw)
        return self._admit(raw) if key is None else key

    def _admit(self, raw: tuple[Any, ...]) -> Key:
        if len(self._keys) >= MAX_SERIES:
            return (OTHER,) * len(raw)
        limited = zip(self._values, raw, strict=True)
        key = tuple([self._limit(known, value) for known, value in limited])
        # What was cut or folded into `other` is not remembered: there is no end of it.
        if OTHER not in key and key == tuple(map(str, raw)):
            self._keys[raw] = key
        return key

    def _limit(self, known: set[str], value: Any) -> str:
        text = _UNFIT.sub("?", str(value)[:MAX_LENGTH])
        if text in known:
            return text
        if len(known) >= self._max_values:
            return OTHER
        known.add(text)
        return text
