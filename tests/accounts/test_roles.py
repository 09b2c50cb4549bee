from __future__ import annotations

import pytest

from accounts.models import Role, User
from accounts.rights import rights_of
from accounts.services.roles import change_role, create_role, delete_role
from accounts.services.users import change_user, create_user
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Action, Resource
from llamagpu.lib.error_codes import ErrorCode
from monitoring.models import AuditLog
from tests.conftest import PASSWORD, Caller


@pytest.fixture
def manager(db: None) -> User:
    """May manage users and roles, and nothing else: not an Admin."""
    role = create_role(
        actor=None, slug="manager", name="Manager", rights={"system_config": "RW", "models": "R"}
    )
    return create_user(actor=None, username="manager", password=PASSWORD, role=role.slug)


def test_a_new_role_may_what_it_is_given_and_no_more(admin: Caller) -> None:
    role = create_role(
        actor=admin.user, slug="auditor", name="Auditor", rights={"system_config": "R"}
    )
    assert User(role=role).can(Resource.SYSTEM_CONFIG, Action.READ)
    assert not User(role=role).can(Resource.SYSTEM_CONFIG, Action.WRITE)
    assert not User(role=role).can(Resource.MODELS, Action.READ)
    row = AuditLog.objects.get(action="role.created")
    assert row.after["rights"]["system_config"] == "R"
    assert row.actor_name == admin.user.username


@pytest.mark.parametrize("slug", ["", "two words", "ä", "x" * 33, "a/b"])
@pytest.mark.django_db
def test_a_slug_that_cannot_stand_in_an_address_is_refused(slug: str) -> None:
    with pytest.raises(AppError, match="slug:") as caught:
        create_role(actor=None, slug=slug, name="X")
    assert caught.value.code is ErrorCode.INVALID_INPUT


@pytest.mark.django_db
def test_a_taken_slug_is_a_conflict() -> None:
    with pytest.raises(AppError) as caught:
        create_role(actor=None, slug="guest", name="Guest again")
    assert caught.value.code is ErrorCode.CONFLICT


def test_changed_cells_count_and_the_others_stay(admin: Caller) -> None:
    guest = Role.objects.get(slug="guest")
    change_role(actor=admin.user, role=guest, rights={"inference": "RW"}, description="They ask")
    rights = rights_of(Role.objects.get(slug="guest"))
    assert rights["inference"] == "RW"
    assert rights["models"] == "R"
    row = AuditLog.objects.get(action="role.changed")
    assert row.before["rights"]["inference"] == ""
    assert row.after["rights"]["inference"] == "RW"
    assert row.after["description"] == "They ask"
    assert "name" not in row.after


def test_a_change_that_changes_nothing_leaves_no_row(admin: Caller) -> None:
    role = Role.objects.get(slug="guest")
    change_role(actor=admin.user, role=role, name=role.name, rights={"models": "R"})
    assert not AuditLog.objects.filter(action="role.changed").exists()


def test_the_admin_role_keeps_every_right(admin: Caller) -> None:
    role = Role.objects.get(slug="admin")
    for actor in (admin.user, None):
        with pytest.raises(AppError, match="always has every right") as caught:
            change_role(actor=actor, role=role, rights={"plugins": "R"})
        assert caught.value.code is ErrorCode.CONFLICT
    assert set(rights_of(Role.objects.get(slug="admin")).values()) == {"RW"}
    change_role(actor=admin.user, role=role, name="Boss", rights={"plugins": "RW"})
    assert Role.objects.get(slug="admin").name == "Boss"


def test_nobody_changes_the_rights_of_the_own_role(manager: User) -> None:
    with pytest.raises(AppError, match="own role") as caught:
        change_role(actor=manager, role=manager.role, rights={"models": ""})
    assert caught.value.code is ErrorCode.CONFLICT


@pytest.mark.parametrize("rights", [{"inference": "RW"}, {"models": "RW"}])
def test_nobody_grants_what_they_lack(manager: User, rights: dict[str, str]) -> None:
    guest = Role.objects.get(slug="guest")
    for grant in (
        lambda: change_role(actor=manager, role=guest, rights=rights),
        lambda: create_role(actor=manager, slug="mine", name="Mine", rights=rights),
    ):
        with pytest.raises(AppError) as caught:
            grant()
        assert caught.value.code is ErrorCode.PERMISSION_DENIED
    assert not Role.objects.filter(slug="mine").exists()


def test_nobody_takes_away_what_they_lack(manager: User) -> None:
    operator = Role.objects.get(slug="operator")
    with pytest.raises(AppError, match="take this away"):
        change_role(actor=manager, role=operator, rights={"plugins": "R"})


@pytest.mark.parametrize("slug", ["admin", "operator", "user", "guest"])
def test_a_built_in_role_is_not_deleted(admin: Caller, slug: str) -> None:
    with pytest.raises(AppError, match="built in") as caught:
        delete_role(actor=admin.user, role=Role.objects.get(slug=slug))
    assert caught.value.code is ErrorCode.CONFLICT


def test_a_role_in_use_is_not_deleted(admin: Caller, manager: User) -> None:
    role = manager.role
    with pytest.raises(AppError, match="is the role of 1 users"):
        delete_role(actor=admin.user, role=role)
    change_user(actor=admin.user, user=manager, role="guest")
    delete_role(actor=admin.user, role=role)
    assert not Role.objects.filter(slug="manager").exists()
    assert AuditLog.objects.get(action="role.deleted").before["rights"]["system_config"] == "RW"


def test_a_role_that_is_gone_is_not_found(admin: Caller, manager: User) -> None:
    role = create_role(actor=None, slug="short", name="Short")
    kept = Role.objects.get(slug="short")
    delete_role(actor=admin.user, role=role)
    with pytest.raises(AppError) as caught:
        change_role(actor=admin.user, role=kept, name="Long")
    assert caught.value.code is ErrorCode.NOT_FOUND
