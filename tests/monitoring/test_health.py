from __future__ import annotations

from collections.abc import Iterator

import pytest

from monitoring import health
from monitoring.health import ProbeFailedError, check_health, register_probe


@pytest.fixture(autouse=True)
def no_other_probes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(health, "_probes", {})
    yield


def test_a_healthy_probe_tells_what_it_found() -> None:
    register_probe("disk", lambda: "plenty")
    (result,) = check_health()
    assert (result.name, result.healthy, result.detail) == ("disk", True, "plenty")
    assert result.latency >= 0


def test_a_failed_probe_tells_why() -> None:
    def probe() -> str:
        raise ProbeFailedError("the disk is full")

    register_probe("disk", probe)
    (result,) = check_health()
    assert not result.healthy
    assert result.detail == "the disk is full"


def test_a_broken_probe_hides_neither_itself_nor_the_others() -> None:
    register_probe("broken", lambda: str(1 / 0))
    register_probe("fine", lambda: "fine")
    broken, fine = check_health()
    assert not broken.healthy
    assert "ZeroDivisionError" in broken.detail
    assert fine.healthy
