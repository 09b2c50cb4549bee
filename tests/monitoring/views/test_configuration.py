"""The settings page: a form for Admins, a table for Operators."""

from __future__ import annotations

import re
from typing import Any

from django.test import Client

from monitoring.audit_actions import AuditAction
from monitoring.models import AuditLog, ConfigValue
from tests.conftest import Caller
from tests.monitoring.views.test_audit import signed_in


def form_of(client: Client) -> dict[str, str]:
    """The fields of the page's form as a browser would send them."""
    page = client.get("/settings").content.decode()
    fields = dict(re.findall(r'name="([a-z_-]+)" value="([^"]*)"', page))
    fields.pop("reset", None)
    for name, options in re.findall(
        r'name="([a-z_]+)" aria-d[^>]*>(.*?)</select>', page, re.DOTALL
    ):
        fields[name] = re.findall(r'value="([^"]*)" selected', options)[0]
    return fields


def test_saving_changes_only_what_was_changed(admin: Caller) -> None:
    client = signed_in(admin)
    fields = form_of(client)
    assert fields["max_queue"] == "256"
    assert fields["optimization_level"] == "auto"
    response = client.post("/settings", {**fields, "max_queue": "17", "devices": "0 1"})
    assert response.status_code == 302
    assert dict(ConfigValue.objects.values_list("name", "value")) == {
        "max_queue": 17,
        "devices": [0, 1],
    }
    assert "Changed: devices, max_queue." in client.get("/settings").content.decode()


def test_an_unchanged_form_changes_nothing(admin: Caller) -> None:
    client = signed_in(admin)
    assert client.post("/settings", form_of(client)).status_code == 302
    assert not ConfigValue.objects.exists()


def test_a_wrong_value_is_shown_where_it_stands(admin: Caller) -> None:
    client = signed_in(admin)
    fields = form_of(client)
    response = client.post("/settings", {**fields, "max_queue": "<b>", "job_timeout": "5"})
    assert response.status_code == 400
    page = response.content.decode()
    assert "must be a whole number" in page
    assert 'value="&lt;b&gt;"' in page
    assert not ConfigValue.objects.exists()


def test_one_value_goes_back_to_its_default(admin: Caller) -> None:
    client = signed_in(admin)
    client.post("/settings", {**form_of(client), "max_queue": "17", "job_timeout": "5"})
    fields = form_of(client)
    client.post("/settings", {**fields, "reset": "max_queue", "job_timeout": "9"})
    assert [row.name for row in ConfigValue.objects.all()] == ["job_timeout"]
    assert ConfigValue.objects.get().value == 5


def test_an_operator_sees_and_cannot_change(operator: Caller, redis_client: Any) -> None:
    client = signed_in(operator)
    page = client.get("/settings").content.decode()
    assert "max_queue" in page
    assert 'name="max_queue"' not in page
    assert client.post("/settings", {"max_queue": "1", "was-max_queue": "256"}).status_code == 403
    assert not ConfigValue.objects.exists()


def test_members_do_not_see_it(member: Caller, redis_client: Any) -> None:
    assert signed_in(member).get("/settings").status_code == 403
    assert Client().get("/settings").status_code == 302


def test_a_form_without_its_token_is_refused(admin: Caller) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin.user)
    response = client.post("/settings", {"max_queue": "1", "was-max_queue": "256"})
    assert response.status_code == 403
    assert not ConfigValue.objects.exists()


def test_django_admin_writes_through_the_service(admin: Caller, operator: Caller) -> None:
    client = signed_in(admin)
    address = "/admin/monitoring/configvalue/"
    added = client.post(f"{address}add/", {"name": "max_queue", "value": "17"})
    assert added.status_code == 302
    assert ConfigValue.objects.get().updated_by == "the-admin"
    refused = client.post(f"{address}max_queue/change/", {"value": "0"})
    assert "must be between 1 and 100000" in refused.content.decode()
    assert ConfigValue.objects.get().value == 17
    assert signed_in(operator).get(address).status_code == 200
    assert (
        signed_in(operator).post(f"{address}max_queue/change/", {"value": "1"}).status_code == 403
    )
    client.post(f"{address}max_queue/delete/", {"post": "yes"})
    assert not ConfigValue.objects.exists()
    rows = AuditLog.objects.filter(action=AuditAction.CONFIGURATION_CHANGED)
    assert [row.after for row in rows] == [{"max_queue": 17}, {"max_queue": 256}]
