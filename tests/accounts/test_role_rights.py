from __future__ import annotations

from typing import Any

import pytest

from accounts import role_rights
from accounts.models import Role, RolePermission, User
from accounts.rights_watch import INTERVAL
from accounts.role_rights import role_with_rights
from accounts.services.key_authentication import authenticate_key
from llamagpu.http.permissions import Action, Resource
from tests.conftest import Caller

LIFETIME = role_rights.LIFETIME  # as it is outside of tests


@pytest.fixture(autouse=True)
def remembering(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    monkeypatch.setattr(role_rights, "LIFETIME", 60.0)
    role_rights.forget_roles()


def test_lost_rights_are_gone_within_five_seconds() -> None:
    longest_read = 2.0  # of a job's stream without news
    assert LIFETIME < 5
    assert INTERVAL + longest_read < 5


def test_a_role_is_asked_for_once(django_assert_num_queries: Any) -> None:
    role = Role.objects.get(slug="user")
    with django_assert_num_queries(2):
        role_with_rights(role.pk)
    with django_assert_num_queries(0):
        assert len(role_with_rights(role.pk).permissions.all()) == len(Resource)


def test_a_call_with_a_key_takes_one_query(member: Caller, django_assert_num_queries: Any) -> None:
    authenticate_key(member.key, "")
    with django_assert_num_queries(1):
        key = authenticate_key(member.key, "")
        assert key.user.can(Resource.INFERENCE, Action.WRITE)
        assert not key.user.can(Resource.MODELS, Action.WRITE)


def test_a_changed_cell_counts_at_once_in_this_process(member: Caller) -> None:
    authenticate_key(member.key, "")
    cell = RolePermission.objects.get(role__slug="user", resource="inference")
    cell.can_write = False
    cell.save()
    key = authenticate_key(member.key, "")
    assert not key.user.can(Resource.INFERENCE, Action.WRITE)


def test_a_cell_changed_elsewhere_counts_when_the_moment_is_over(
    member: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticate_key(member.key, "")
    cells = RolePermission.objects.filter(role__slug="user", resource="inference")
    cells.update(can_write=False)  # sends no signal, as a change by another process does not
    assert authenticate_key(member.key, "").user.can(Resource.INFERENCE, Action.WRITE)
    monkeypatch.setattr(role_rights, "LIFETIME", 0.0)
    assert not authenticate_key(member.key, "").user.can(Resource.INFERENCE, Action.WRITE)


def test_another_role_counts_at_once(member: Caller) -> None:
    authenticate_key(member.key, "")
    User.objects.update(role=Role.objects.get(slug="guest"))
    key = authenticate_key(member.key, "")
    assert not key.user.can(Resource.INFERENCE, Action.WRITE)
