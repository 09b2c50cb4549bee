"""Something to watch, in the hands of a test."""

from __future__ import annotations

from monitoring.alerts.values import Value, register_value
from monitoring.alerts.watch import Watch
from monitoring.metrics.reading import Snapshot


class Stove:
    """A value that the test sets, watched once a second of a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.heat: dict[tuple[str, ...], float] = {("0",): 20.0}
        self.fault: Exception | None = None
        register_value(Value("test_heat", "x", ("plate",), self._read))
        self.watch = Watch(lambda: self.now)

    def _read(self, snapshot: Snapshot) -> dict[tuple[str, ...], float]:
        if self.fault:
            raise self.fault
        return self.heat

    def wait(self, seconds: int, **plates: float) -> None:
        self.heat |= {(name[1:],): heat for name, heat in plates.items()}
        for _ in range(seconds):
            self.now += 1
            self.watch.run()
