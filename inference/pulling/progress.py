"""How far a pull has come: a bar on a terminal, a line per tenth in a log, JSON for programs."""

from __future__ import annotations

import json
from typing import Any, Protocol

_BAR_WIDTH = 30
_TITLES = {"download": "Downloading", "unpack": "Unpacking", "convert": "Converting"}


class Writer(Protocol):
    """The two methods that a text stream and a command's `self.stdout` share."""

    def write(self, text: str, /) -> Any: ...

    def flush(self) -> Any: ...


class Progress(Protocol):
    """Told again and again; `stage` names the step, `fraction` runs from 0 to 1 within it."""

    def update(self, stage: str, fraction: float) -> None: ...

    def close(self) -> None:
        """No update follows, whether the pull succeeded or not."""


class BarProgress:
    """One line per stage, drawn over and over."""

    def __init__(self, stream: Writer) -> None:
        self._stream = stream
        self._stage = ""
        self._drawn = -1

    def update(self, stage: str, fraction: float) -> None:
        percent = _percent(fraction)
        if stage != self._stage:
            self.close()
            self._stage = stage
        elif percent == self._drawn:
            return
        self._drawn = percent
        filled = _BAR_WIDTH * percent // 100
        bar = "█" * filled + "·" * (_BAR_WIDTH - filled)
        self._stream.write(f"\r{_title(stage):<12} {bar} {percent:>3}%")
        self._stream.flush()

    def close(self) -> None:
        if self._stage:
            self._stream.write("\n")
            self._stream.flush()
        self._stage, self._drawn = "", -1


class LineProgress:
    """A line at each tenth of a stage, for logs."""

    def __init__(self, stream: Writer) -> None:
        self._stream = stream
        self._last: tuple[str, int] = ("", -1)

    def update(self, stage: str, fraction: float) -> None:
        tenth = _percent(fraction) // 10
        last_stage, last_tenth = self._last
        if stage == last_stage and tenth <= last_tenth:
            return
        self._last = (stage, tenth)
        self._stream.write(f"{_title(stage)} {tenth * 10}%\n")
        self._stream.flush()

    def close(self) -> None:
        """Every line is complete already."""


class JsonProgress:
    """One object a line: {"stage": "download", "fraction": 0.42}."""

    def __init__(self, stream: Writer) -> None:
        self._stream = stream

    def update(self, stage: str, fraction: float) -> None:
        self._stream.write(json.dumps({"stage": stage, "fraction": round(fraction, 4)}) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Every line is complete already."""


def _percent(fraction: float) -> int:
    return max(0, min(100, int(fraction * 100)))


def _title(stage: str) -> str:
    return _TITLES.get(stage, stage)
