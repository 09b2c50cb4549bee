"""The whole portal with a fake engine, for what must hold of every call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from inference.benchmark.portal.own_stack import OwnStack
from tests.contract.fuzz import fake_stack


@pytest.fixture(scope="session")
def portal() -> Iterator[OwnStack]:
    with fake_stack() as stack:
        yield stack
