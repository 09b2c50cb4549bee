"""environment > database > default, in every process within two seconds."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError, connection

from llamagpu.http.errors import AppError
from monitoring import configuration
from monitoring.configuration import current, forget, freeze
from monitoring.models import ConfigValue
from monitoring.services.configuration import change_configuration, register_validator


def store(name: str, value: Any) -> None:
    """What another process has written."""
    ConfigValue.objects.update_or_create(
        name=name, defaults={"value": value, "updated_by": "somebody"}
    )


def time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    known = configuration._known
    monkeypatch.setattr(configuration, "_known", replace(known, read_at=known.read_at - 60))


@pytest.fixture(autouse=True)
def asked_at(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has asked the empty database just now."""
    forget()
    current()


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("", "django", "django.server")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def test_the_database_wins_over_the_default() -> None:
    store("max_queue", 17)
    forget()
    assert current().max_queue == 17


def test_a_configuration_is_built_once_for_as_long_as_nothing_changes(settings: Any) -> None:
    store("max_queue", 17)
    forget()
    freeze()
    before = current()
    assert current() is before
    store("max_queue", 18)
    forget()
    changed = current()
    assert (before.max_queue, changed.max_queue) == (17, 18)
    settings.LLAMA = replace(settings.LLAMA, resume_grace=77)
    assert (current().max_queue, current().resume_grace) == (18, 77)


def test_the_environment_wins_over_the_database(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setenv("LLAMA_MAX_QUEUE", "99")
    settings.LLAMA = replace(settings.LLAMA, max_queue=99)
    store("max_queue", 17)
    forget()
    assert current().max_queue == 99


def test_what_another_process_writes_is_seen_soon(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    store("max_queue", 17)
    with django_assert_num_queries(0):
        assert current().max_queue == 256
    time_passes(monkeypatch)
    with django_assert_num_queries(1):
        assert [current().max_queue for _ in range(10)] == [17] * 10


def test_a_database_that_is_away_leaves_the_last_values(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store("max_queue", 17)
    forget()
    current()

    def away() -> dict[str, Any]:
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(configuration, "_read", away)
        for _ in range(3):
            time_passes(patch)
            assert current().max_queue == 17
    assert [record.getMessage() for record in caplog.records].count(
        "the configuration in the database cannot be read: away"
    ) == 1


def test_rows_that_make_no_sense_are_left_out_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store("max_queue", -5)
    store("of_a_later_version", 1)
    store("job_timeout", 20)
    for _ in range(2):
        forget()
        assert (current().max_queue, current().job_timeout) == (256, 20)
    assert sum("max_queue=-5" in record.getMessage() for record in caplog.records) == 1


def test_an_event_loop_gets_the_last_values_and_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store("max_queue", 17)
    time_passes(monkeypatch)

    async def ask() -> int:
        return current().max_queue

    assert asyncio.run(ask()) == 256
    assert current().max_queue == 17


def test_a_worker_keeps_what_it_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    freeze()
    store("num_slots", 8)
    store("max_queue", 17)
    forget()
    assert (current().num_slots, current().max_queue) == (32, 17)
    assert configuration.shown_restart_values()["num_slots"] == 32


def test_the_log_level_and_the_largest_body_follow(settings: Any) -> None:
    store("log_level", "error")
    store("max_input_chars", 5_000_000)
    forget()
    current()
    assert logging.getLogger().level == logging.ERROR
    assert settings.DATA_UPLOAD_MAX_MEMORY_SIZE > 20_000_000
    ConfigValue.objects.all().delete()
    forget()
    current()
    assert logging.getLogger().level == logging.INFO
    assert settings.DATA_UPLOAD_MAX_MEMORY_SIZE < 1_100_000


def test_an_app_above_may_know_better(monkeypatch: pytest.MonkeyPatch) -> None:
    from monitoring.services import configuration as service

    monkeypatch.setattr(service, "_validators", {})
    register_validator("default_model", lambda slug: f"there is no model '{slug}'")
    with pytest.raises(AppError, match="default_model: there is no model 'nothing'"):
        change_configuration(actor=None, changes={"default_model": "nothing"})


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_two_changes_at_once_tell_one_story() -> None:
    from monitoring.audit_actions import AuditAction
    from monitoring.models import AuditLog

    begin = threading.Barrier(8)

    def change(value: int) -> None:
        begin.wait()
        try:
            change_configuration(actor=None, changes={"max_queue": value})
        finally:
            connection.close()

    threads = [threading.Thread(target=change, args=(value,)) for value in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = list(AuditLog.objects.filter(action=AuditAction.CONFIGURATION_CHANGED).order_by("id"))
    befores = [row.before["max_queue"] for row in rows]
    afters = [row.after["max_queue"] for row in rows]
    assert befores == [256, *afters[:-1]]
    assert ConfigValue.objects.get().value == afters[-1]
