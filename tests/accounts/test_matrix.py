from __future__ import annotations

import pytest

from accounts.matrix import endpoint_rows, matrix_rows, need_of, role_passes, scope_of
from accounts.models import Role
from llamagpu.http.permissions import OWN_ACCOUNT, WRITE_MODELS, Public, SignedIn


@pytest.mark.django_db
def test_the_matrix_has_a_row_for_each_resource_and_a_column_for_each_role() -> None:
    rows = {row.resource: row.rights for row in matrix_rows(Role.objects.order_by("id"))}
    assert rows["system config"] == ["RW", "R", "", ""]
    assert rows["inference"] == ["RW", "RW", "RW", ""]
    assert len(rows) == 5


@pytest.mark.django_db
def test_each_call_says_what_it_needs_and_who_passes() -> None:
    rows = {
        (row.method, row.address): row for row in endpoint_rows(list(Role.objects.order_by("id")))
    }
    row = rows["PATCH", "/api/users/{pk}"]
    assert (row.needs, row.scope) == ("write system config", "admin")
    assert row.passes == [True, False, False, False]
    assert rows["POST", "/api/infer"].passes == [True, True, True, False]
    assert rows["GET", "/livez"].passes == [True] * 4
    assert not any(address.startswith("/api/v1/") for _, address in rows)
    assert not any(address.startswith("/admin") for _, address in rows)


def test_rules_read_as_words() -> None:
    assert need_of(WRITE_MODELS) == "write models"
    assert need_of(SignedIn()) == "an account"
    assert need_of(Public("a test")) == "nothing"
    assert need_of(None) == "closed"
    assert [scope_of(rule) for rule in (WRITE_MODELS, OWN_ACCOUNT, SignedIn(), None)] == [
        "models:write",
        "admin",
        "",
        "",
    ]


def test_what_declares_nothing_is_closed() -> None:
    assert not role_passes(None, {"models": "RW"})
    assert role_passes(WRITE_MODELS, {"models": "RW"})
    assert not role_passes(WRITE_MODELS, {"models": "R"})
