"""Reports that are kept for the page of monitoring and the API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inference.benchmark import saved
from inference.benchmark.saved import save_report, saved_reports
from tests.conftest import Caller


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    path = save_report(tmp_path / "benchmarks", {"model": "tiny"})
    (report,) = saved_reports(path.parent)
    assert (report.name, report.content) == (path.stem, {"model": "tiny"})
    assert report.created_at.strftime("%Y%m%dT%H%M%SZ") == path.stem


def test_the_oldest_goes_when_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "MAX_REPORTS", 2)
    for day in (1, 2):
        (tmp_path / f"2026010{day}T000000Z.json").write_text("{}")
    newest = save_report(tmp_path, {})
    assert [report.name for report in saved_reports(tmp_path)] == [newest.stem, "20260102T000000Z"]
    assert not (tmp_path / "20260101T000000Z.json").exists()


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "20260101T000000Z.json").write_text("no json")
    (tmp_path / "20260102T000000Z.json").write_text("[]")
    (tmp_path / "notes.json").write_text("{}")
    assert saved_reports(tmp_path) == []
    assert saved_reports(tmp_path / "nowhere") == []


@pytest.mark.django_db
def test_the_api_shows_them_to_who_may_see_figures(
    member: Caller, redis_client: Any, settings: Any
) -> None:
    folder = settings.LLAMA.benchmark_dir
    path = save_report(folder, {"model": "tiny"})
    try:
        body = json.loads(member.get("/api/benchmarks").content)
        assert body["benchmarks"][0]["report"] == {"model": "tiny"}
        assert member.get("/api/benchmarks?page=2").status_code == 400
    finally:
        path.unlink()
