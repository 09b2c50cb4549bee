from __future__ import annotations

import pytest

from accounts.models import Role, User
from accounts.services.users import create_user
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Action, Resource
from llamagpu.lib.error_codes import ErrorCode
from monitoring.models import AuditLog
from tests.conftest import PASSWORD, Caller

# The design document's matrix, written out a second time on purpose.
MATRIX = {
    "admin": {
        "system_config": "RW",
        "plugins": "RW",
        "models": "RW",
        "inference": "RW",
        "monitoring": "RW",
    },
    "operator": {
        "system_config": "R",
        "plugins": "RW",
        "models": "RW",
        "inference": "RW",
        "monitoring": "R",
    },
    "user": {
        "system_config": "",
        "plugins": "R",
        "models": "R",
        "inference": "RW",
        "monitoring": "R",
    },
    "guest": {
        "system_config": "",
        "plugins": "R",
        "models": "R",
        "inference": "",
        "monitoring": "R",
    },
}


@pytest.mark.parametrize("role", MATRIX)
@pytest.mark.parametrize("resource", list(Resource))
@pytest.mark.django_db
def test_the_seeded_rights_are_the_documented_ones(role: str, resource: Resource) -> None:
    user = User(role=Role.objects.get(slug=role))
    rights = MATRIX[role][resource]
    assert user.can(resource, Action.READ) == ("R" in rights)
    assert user.can(resource, Action.WRITE) == ("W" in rights)


@pytest.mark.django_db
def test_a_role_without_a_row_for_a_resource_has_no_right() -> None:
    role = Role.objects.create(slug="empty", name="Empty")
    assert not User(role=role).can(Resource.MODELS, Action.READ)


def test_an_inactive_user_may_nothing(admin: Caller) -> None:
    admin.user.is_active = False
    assert not admin.user.can(Resource.MODELS, Action.READ)


@pytest.mark.django_db
def test_a_user_made_without_a_role_is_a_guest() -> None:
    assert User.objects.create_user("somebody").role.slug == "guest"


@pytest.mark.django_db
def test_createsuperuser_makes_an_admin() -> None:
    assert User.objects.create_superuser("boss", password=PASSWORD).role.slug == "admin"


@pytest.mark.django_db
def test_an_unknown_role_is_refused_and_the_known_ones_named() -> None:
    with pytest.raises(AppError, match="role: 'king' is not one of admin, operator, user, guest"):
        create_user(actor=None, username="x", password=PASSWORD, role="king")


def test_a_taken_name_is_a_conflict(member: Caller) -> None:
    with pytest.raises(AppError) as caught:
        create_user(actor=None, username=member.user.username, password=PASSWORD, role="user")
    assert caught.value.code is ErrorCode.CONFLICT


@pytest.mark.django_db
def test_a_weak_password_is_refused() -> None:
    with pytest.raises(AppError, match="too short"):
        create_user(actor=None, username="x", password="abc", role="user")


def test_making_a_user_is_audited_with_its_actor(admin: Caller) -> None:
    user = create_user(actor=admin.user, username="new", password=PASSWORD, role="guest")
    row = AuditLog.objects.get(action="user.created", target_id=str(user.pk))
    assert row.actor_name == admin.user.username
    assert row.data == {"role": "guest"}
