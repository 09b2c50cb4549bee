from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_portal import Portal, run_portal


@pytest.fixture(scope="session")
def portal(
    valkey: str, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Portal]:
    folder: Path = tmp_path_factory.mktemp("portal")
    with run_portal(folder, LLAMA_MAX_KEY_SOCKETS="3", LLAMA_MAX_USER_SOCKETS="5") as running:
        yield running
