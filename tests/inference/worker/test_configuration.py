"""A worker takes up the configuration at its start and tells which one it runs with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from inference.presence import WorkerReport, announce
from inference.worker import runtime
from llamagpu.http.errors import AppError
from monitoring.configuration import current, shown_restart_values
from monitoring.configuration_listing import list_settings
from monitoring.services.configuration import change_configuration


def change(**changes: Any) -> None:
    from monitoring import configuration

    change_configuration(actor=None, changes=changes)
    configuration.forget()  # in a test nothing is ever committed


@pytest.mark.django_db
def test_a_worker_starts_with_what_the_database_says_and_keeps_it() -> None:
    change(worker_concurrency=5, num_slots=4)
    conf = SimpleNamespace()
    runtime._configure(conf=conf)
    assert conf.worker_concurrency == 5
    change(num_slots=9, max_queue=3)
    assert (current().num_slots, current().max_queue) == (4, 3)
    assert shown_restart_values()["num_slots"] == 4


def test_the_portal_knows_what_a_worker_runs_with(db: None, redis_client: Any) -> None:
    report = WorkerReport(
        "w", "1", 1, "here", 0.0, 0, 8, configuration=shown_restart_values() | {"num_slots": 4}
    )
    announce(redis_client, report)
    waiting = [setting["name"] for setting in list_settings() if setting["pending_restart"]]
    assert waiting == ["num_slots"]


@pytest.mark.django_db
def test_the_default_model_must_be_one_of_the_models() -> None:
    with pytest.raises(AppError, match="default_model: there is no model 'nothing'"):
        change(default_model="nothing")
