"""The web server goes down while sockets are open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitoring.live_events import MODEL_EVENTS
from tests.conftest import make_caller
from tests.live_portal import PATIENCE, run_portal

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def test_sockets_are_told_that_the_server_goes_away(redis_client: Any, tmp_path: Path) -> None:
    key = make_caller("user").key
    with run_portal(tmp_path, is_stopped=True) as portal:
        with portal.watch(key, MODEL_EVENTS) as one, portal.watch(key, MODEL_EVENTS) as two:
            portal.process.terminate()
            assert [one.end()[0], two.end()[0]] == [1001, 1001]
        assert portal.process.wait(PATIENCE) == 0
