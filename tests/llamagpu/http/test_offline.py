"""The page that browsers keep for when the server is away, and the script that keeps it."""

from __future__ import annotations

import re

from django.contrib.staticfiles import finders
from django.test import Client


def test_the_page_needs_neither_session_nor_database() -> None:
    response = Client().get("/offline")
    assert response.status_code == 200
    assert "The server cannot be reached" in response.content.decode()


def test_the_script_is_served_at_the_root_and_asked_for_anew() -> None:
    response = Client().get("/service-worker.js")
    assert response.headers["Content-Type"] == "text/javascript"
    assert "no-cache" in response.headers["Cache-Control"]


def test_all_that_the_page_is_made_of_is_kept_and_there() -> None:
    script = Client().get("/service-worker.js").content.decode()
    kept = set(re.findall(r'"(/static/[^"]+)"', script))
    page = Client().get("/offline").content.decode()
    assert set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page)) == kept
    missing = [path for path in kept if finders.find(path.removeprefix("/static/")) is None]
    assert missing == []
