"""Unapplied migrations keep a process from being ready, and say what to do."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from monitoring import probes
from monitoring.health import ProbeFailedError
from monitoring.probes import probe_migrations


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_migrated_until", float("-inf"))


@pytest.mark.django_db
def test_a_database_of_this_version_is_ready() -> None:
    assert probe_migrations() == "all applied"


@pytest.mark.django_db
def test_a_missing_migration_is_told(redis_client: Any) -> None:
    newest = MigrationRecorder.Migration.objects.filter(app="monitoring").order_by("name").last()
    assert newest is not None
    newest.delete()
    with pytest.raises(ProbeFailedError, match=r"1 are not applied: run manage\.py migrate"):
        probe_migrations()
    response = Client().get("/readyz")
    assert response.status_code == 503
    assert "migrations: 1 are not applied" in " ".join(response.json()["reasons"])


@pytest.mark.django_db
def test_what_was_found_complete_is_not_asked_again_at_every_probe(
    django_assert_num_queries: Any,
) -> None:
    probe_migrations()
    with django_assert_num_queries(0):
        probe_migrations()
