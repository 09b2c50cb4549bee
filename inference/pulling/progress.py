"""How far a pull has come: a bar on a terminal, a line per tenth in a log, JSON for programs."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Protocol

_BAR_WIDTH = 30
_TITLES = {
    "resolve": "Resolving",
    "download": "Downloading",
    "unpack": "Unpacking",
    "convert": "Converting",
    "verify": "Verifying",
}
_AMOUNT_WIDTH = 48
# Seconds over which a rate is taken.
_RATE_WINDOW = 10.0


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes that are here, of how many; `rate` in bytes a second, both estimates None at first."""

    bytes: int
    total: int
    rate: float | None = None
    seconds_left: float | None = None


class Meter:
    """Makes `Transfer`s of byte counts; its clock is the machine's monotonic one."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._samples: deque[tuple[float, int]] = deque()

    def read(self, num_bytes: int) -> Transfer:
        now = time.monotonic()
        self._samples.append((now, num_bytes))
        while self._samples[0][0] < now - _RATE_WINDOW:
            self._samples.popleft()
        began, first = self._samples[0]
        if now - began < 0.5:
            return Transfer(num_bytes, self._total)
        rate = max(0.0, (num_bytes - first) / (now - began))
        left = (self._total - num_bytes) / rate if rate else None
        return Transfer(num_bytes, self._total, rate, left)


class Writer(Protocol):
    """The two methods that a text stream and a command's `self.stdout` share."""

    def write(self, text: str, /) -> Any: ...

    def flush(self) -> Any: ...


class Progress(Protocol):
    """Told again and again; `stage` names the step, `fraction` runs from 0 to 1 within it.

    `transfer` says more of it where bytes are counted.
    """

    def update(self, stage: str, fraction: float, transfer: Transfer | None = None) -> None: ...

    def close(self) -> None:
        """No update follows, whether the pull succeeded or not."""


class BarProgress:
    """One line per stage, drawn over and over."""

    def __init__(self, stream: Writer) -> None:
        self._stream = stream
        self._stage = ""
        self._drawn = -1

    def update(self, stage: str, fraction: float, transfer: Transfer | None = None) -> None:
        percent = _percent(fraction)
        if stage != self._stage:
            self.close()
            self._stage = stage
        elif percent == self._drawn:
            return
        self._drawn = percent
        filled = _BAR_WIDTH * percent // 100
        bar = "█" * filled + "·" * (_BAR_WIDTH - filled)
        self._stream.write(f"\r{_title(stage):<12} {bar} {percent:>3}%{_amount(transfer)}")
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

    def update(self, stage: str, fraction: float, transfer: Transfer | None = None) -> None:
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
    """One object a line: {"stage": "download", "fraction": 0.42}, with the fields of a `Transfer`."""

    def __init__(self, stream: Writer) -> None:
        self._stream = stream

    def update(self, stage: str, fraction: float, transfer: Transfer | None = None) -> None:
        amount = {} if transfer is None else asdict(transfer)
        report = {"stage": stage, "fraction": round(fraction, 4), **amount}
        self._stream.write(json.dumps(report) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Every line is complete already."""


def _percent(fraction: float) -> int:
    return max(0, min(100, int(fraction * 100)))


def _amount(transfer: Transfer | None) -> str:
    """Like `  12 of 340 MB, 8.1 MB/s, 40 s left`."""
    if transfer is None:
        return ""
    text = f"  {transfer.bytes / 1e6:.0f} of {transfer.total / 1e6:.0f} MB"
    if transfer.rate:
        text += f", {transfer.rate / 1e6:.1f} MB/s"
    if transfer.seconds_left is not None:
        text += f", {transfer.seconds_left:.0f} s left"
    return text.ljust(_AMOUNT_WIDTH)  # covers what the longer text before it has left


def _title(stage: str) -> str:
    return _TITLES.get(stage, stage)
