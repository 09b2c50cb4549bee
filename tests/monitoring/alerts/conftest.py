from __future__ import annotations

import pytest

from monitoring.alerts import values


@pytest.fixture(autouse=True)
def own_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers to be watched is gone with it."""
    monkeypatch.setattr(values, "_values", dict(values._values))
