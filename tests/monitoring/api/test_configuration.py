"""The system configuration through the API: who may, what is refused, what changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from llamagpu.lib.setting_fields import FIELD_BY_NAME
from monitoring import configuration
from monitoring.audit_actions import AuditAction
from monitoring.configuration import current
from monitoring.models import AuditLog, ConfigValue
from tests.conftest import Caller

ADDRESS = "/api/system/config"


def shown(caller: Caller) -> dict[str, dict[str, Any]]:
    response = caller.get(ADDRESS)
    assert response.status_code == 200
    return {setting["name"]: setting for setting in response.json()["settings"]}


def patch(caller: Caller, body: Any) -> Any:
    return Client().patch(
        ADDRESS, data=json.dumps(body), content_type="application/json", headers=caller.headers
    )


def test_every_setting_is_shown_with_where_it_comes_from(admin: Caller) -> None:
    settings = shown(admin)
    assert set(FIELD_BY_NAME) <= set(settings)
    queue = settings["max_queue"]
    assert queue == {
        "name": "max_queue",
        "value": 256,
        "source": "default",
        "default": 256,
        "variable": "LLAMA_MAX_QUEUE",
        "description": queue["description"],
        "group": "Requests",
        "type": "integer",
        "minimum": 1,
        "maximum": 100_000,
        "applies": "live",
        "pending_restart": False,
        "editable": True,
    }
    assert settings["num_slots"]["applies"] == "restart"
    assert settings["backend"]["choices"] == ["auto", "cuda", "rocm", "cpu"]
    assert settings["data_dir"]["editable"] is False


def test_no_secret_is_shown(admin: Caller, settings: Any) -> None:
    text = admin.get(ADDRESS).content.decode()
    for secret in (settings.SECRET_KEY, settings.API_KEY_PEPPER, settings.REDIS_URL):
        assert secret not in text


def test_a_change_holds_at_once_and_is_audited(admin: Caller) -> None:
    response = patch(admin, {"max_queue": 17, "log_level": "warning"})
    assert response.status_code == 200, response.content
    assert response.json()["changed"] == {"max_queue": 17, "log_level": "warning"}
    assert (
        shown(admin)["max_queue"] | {"source": "database", "value": 17} == shown(admin)["max_queue"]
    )
    row = AuditLog.objects.get(action=AuditAction.CONFIGURATION_CHANGED)
    assert row.actor == admin.user
    assert row.before == {"max_queue": 256, "log_level": "info"}
    assert row.after == {"max_queue": 17, "log_level": "warning"}
    stored = ConfigValue.objects.get(name="max_queue")
    assert (stored.value, stored.updated_by) == (17, "the-admin")


def test_null_goes_back_to_the_default(admin: Caller) -> None:
    patch(admin, {"max_queue": 17})
    assert patch(admin, {"max_queue": None}).json()["changed"] == {"max_queue": 256}
    assert shown(admin)["max_queue"]["source"] == "default"
    assert not ConfigValue.objects.exists()


def test_what_stays_the_same_is_no_deed(admin: Caller) -> None:
    assert patch(admin, {"max_queue": 256}).json()["changed"] == {}
    assert not AuditLog.objects.filter(action=AuditAction.CONFIGURATION_CHANGED).exists()


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"max_queue": 17, "nothing": 1}, 400, "nothing: Unknown field"),
        ({"max_queue": 17, "job_timeout": 1501}, 400, "job_timeout=1501: must be between"),
        ({"max_queue": "17"}, 400, "max_queue: must be a whole number"),
        ({"backend": "tpu", "max_queue": 0}, 400, "backend='tpu': must be one of"),
        ({"data_dir": "/tmp"}, 400, "data_dir: is fixed at the start, by LLAMA_DATA_DIR"),
        ({"redis_url": "redis://x"}, 400, "redis_url: Unknown field"),
        ({"secret_key": "x"}, 400, "secret_key: Unknown field"),
        ({}, 400, "names at least one setting"),
        ([], 400, "JSON object"),
    ],
)
def test_all_or_nothing(admin: Caller, body: Any, status: int, message: str) -> None:
    response = patch(admin, body)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]
    assert not ConfigValue.objects.exists()
    assert not AuditLog.objects.filter(action=AuditAction.CONFIGURATION_CHANGED).exists()


def test_every_wrong_field_is_named(admin: Caller) -> None:
    details = patch(admin, {"backend": "tpu", "max_queue": 0}).json()["error"]["details"]
    assert [problem["field"] for problem in details] == ["backend", "max_queue"]


def test_what_the_environment_sets_is_a_conflict_that_names_it(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_MAX_QUEUE", "99")
    response = patch(admin, {"max_queue": 17, "job_timeout": 10})
    assert response.status_code == 409
    assert "LLAMA_MAX_QUEUE" in response.json()["error"]["message"]
    assert not ConfigValue.objects.exists()
    queue = shown(admin)["max_queue"]
    assert (queue["source"], queue["editable"]) == ("environment", False)


def test_a_worker_with_another_value_waits_for_its_restart(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = [{"num_slots": 32}]
    monkeypatch.setattr(configuration, "_running_readers", [lambda: running])
    assert shown(admin)["num_slots"]["pending_restart"] is False
    patch(admin, {"num_slots": 8})
    assert shown(admin)["num_slots"]["pending_restart"] is True
    running[0]["num_slots"] = 8
    assert shown(admin)["num_slots"]["pending_restart"] is False


def test_an_operator_reads_and_does_not_write(operator: Caller, redis_client: Any) -> None:
    assert shown(operator)["max_queue"]["value"] == 256
    assert patch(operator, {"max_queue": 1}).status_code == 403
    assert not ConfigValue.objects.exists()
    refused = AuditLog.objects.get(action=AuditAction.ACCESS_REFUSED)
    assert refused.data["rule"] == "system_config write"


def test_members_guests_and_strangers_see_nothing(
    member: Caller, guest: Caller, redis_client: Any
) -> None:
    for caller in (member, guest):
        assert caller.get(ADDRESS).status_code == 403
        assert patch(caller, {"max_queue": 1}).status_code == 403
    assert Client().get(ADDRESS).status_code == 401


def test_a_hostile_body_is_refused_cleanly(admin: Caller) -> None:
    for body in ({"max_queue": 10**400}, {"max_queue": float("nan")}, {"\x00": 1}, {"a" * 5000: 1}):
        assert patch(admin, body).status_code == 400
    assert current().max_queue == 256
