"""Calls of the API about plugins, without waiting for workers that are not there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from plugins_app.api import views
from tests.conftest import Caller


@pytest.fixture(autouse=True)
def impatient(redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "PATIENCE", 0.0)


def call(caller: Caller, method: str, path: str, body: Any = None) -> Any:
    return Client().generic(
        method,
        f"/api/plugins{path}",
        "" if body is None else json.dumps(body),
        content_type="application/json",
        headers=caller.headers,
    )
