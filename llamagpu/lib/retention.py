"""How long prompt and answer of a job are kept after its end: a policy, written as one word.

`none` keeps nothing, `hash` their SHA-256 alone, `30d` the texts for thirty days, `full` for ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

MAX_DAYS = 3650
_WORDS = ("none", "hash", "full")
_RANKS = {"none": 0, "hash": 1, "days": 2, "full": 3}


@dataclass(frozen=True, slots=True)
class Retention:
    """`kind` is none, hash, days or full; `days` counts only for days."""

    kind: str
    days: int = 0

    @classmethod
    def parse(cls, text: str) -> Retention:
        """Raises ValueError with a sentence for whoever wrote `text`."""
        if text in _WORDS:
            return cls(text)
        found = re.fullmatch(r"([1-9][0-9]{0,3})d", text, re.ASCII)
        if found is None or int(found[1]) > MAX_DAYS:
            raise ValueError(f"must be full, none, hash, or days from 1d to {MAX_DAYS}d")
        return cls("days", int(found[1]))

    def __str__(self) -> str:
        return f"{self.days}d" if self.kind == "days" else self.kind

    @property
    def period(self) -> timedelta | None:
        """How long the texts stay after the end; None: for ever."""
        if self.kind == "full":
            return None
        return timedelta(days=self.days)

    @property
    def _strictness(self) -> tuple[int, int]:
        return _RANKS[self.kind], self.days

    def or_stricter(self, other: Retention) -> Retention:
        """Whichever of the two keeps less."""
        return min(self, other, key=lambda policy: policy._strictness)


FOR_EVER = Retention("full")
