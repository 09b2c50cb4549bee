"""Keys over their lives: changed, rotated, revoked, by their owner, an Admin or another key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import ApiKey, LimitPolicy
from accounts.services.api_keys import (
    change_api_key,
    create_api_key,
    revoke_api_key,
    rotate_api_key,
)
from accounts.services.key_authentication import find_key
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring.models import AuditLog
from tests.conftest import Caller, make_caller

DAY = timedelta(days=1)


def key_of(caller: Caller) -> ApiKey:
    return ApiKey.objects.get(user=caller.user)


def audited(action: str) -> AuditLog:
    return AuditLog.objects.get(action=f"api_key.{action}")


def test_making_a_key_is_audited_without_its_secret(member: Caller) -> None:
    row = AuditLog.objects.get(action="api_key.created")
    key = key_of(member)
    assert row.data == {"owner": "the-user", "prefix": key.prefix}
    assert row.after == {
        "name": "test",
        "scopes": [],
        "allowed_models": [],
        "allowed_ips": [],
        "retention": "",
        "expires_at": None,
    }
    text = " ".join(str(value) for value in AuditLog.objects.values().get(pk=row.pk).values())
    assert member.key.split("_")[2] not in text
    assert key.digest not in text


def test_a_change_is_audited_with_what_was_and_what_is(member: Caller) -> None:
    key = change_api_key(
        actor=member.user, key=key_of(member), changes={"name": "new", "scopes": ["infer"]}
    )
    assert (key.name, key.scopes) == ("new", ["infer"])
    row = audited("changed")
    assert row.before == {"name": "test", "scopes": []}
    assert row.after == {"name": "new", "scopes": ["infer"]}


def test_a_change_that_changes_nothing_is_not_audited(member: Caller) -> None:
    change_api_key(actor=member.user, key=key_of(member), changes={"name": "test", "scopes": []})
    assert not AuditLog.objects.filter(action="api_key.changed").exists()


def test_a_key_can_be_widened_again_within_the_owners_role(member: Caller) -> None:
    key = key_of(member)
    change_api_key(actor=member.user, key=key, changes={"scopes": ["infer"]})
    change_api_key(actor=member.user, key=key, changes={"scopes": ["infer", "batch"]})
    with pytest.raises(AppError, match="scopes: 'admin'"):
        change_api_key(actor=member.user, key=key, changes={"scopes": ["admin"]})
    assert key_of(member).scopes == ["batch", "infer"]


def test_a_key_that_has_ended_stays_ended(member: Caller) -> None:
    key = key_of(member)
    ApiKey.objects.update(expires_at=timezone.now())
    for deed in (
        lambda: change_api_key(actor=None, key=key, changes={"expires_at": None}),
        lambda: rotate_api_key(actor=None, key=key),
    ):
        with pytest.raises(AppError, match="expired") as caught:
            deed()
        assert caught.value.code is ErrorCode.CONFLICT
    revoke_api_key(actor=None, key=key)
    with pytest.raises(AppError, match="revoked"):
        rotate_api_key(actor=None, key=key)


def test_a_deactivated_user_gets_no_key(member: Caller) -> None:
    member.user.is_active = False
    with pytest.raises(AppError, match="deactivated"):
        create_api_key(actor=None, user=member.user, name="n")


def test_others_keys_are_an_admins_business(
    member: Caller, operator: Caller, admin: Caller
) -> None:
    key = key_of(member)
    for deed in (
        lambda: create_api_key(actor=operator.user, user=member.user, name="n"),
        lambda: change_api_key(actor=operator.user, key=key, changes={"name": "n"}),
        lambda: rotate_api_key(actor=operator.user, key=key),
        lambda: revoke_api_key(actor=operator.user, key=key),
    ):
        with pytest.raises(AppError) as caught:
            deed()
        assert caught.value.code is ErrorCode.PERMISSION_DENIED
    create_api_key(actor=admin.user, user=member.user, name="by the admin")
    revoke_api_key(actor=admin.user, key=key)
    assert audited("revoked").actor == admin.user


def test_rotation_keeps_the_settings_and_the_old_key_for_a_while(member: Caller) -> None:
    old, old_text = create_api_key(
        actor=None,
        user=member.user,
        name="service",
        scopes=["infer"],
        allowed_models=["m"],
        allowed_ips=["10.0.0.0/8"],
        expires_at=timezone.now() + 90 * DAY,
    )
    before = timezone.now()
    new, new_text = rotate_api_key(actor=member.user, key=old)
    for field in ("user", "name", "scopes", "allowed_models", "allowed_ips", "expires_at"):
        assert getattr(new, field) == getattr(old, field), field
    assert new.replaces == old
    assert find_key(str(old_text)) == old
    assert find_key(str(new_text)) == new
    end = ApiKey.objects.get(pk=old.pk).expires_at
    assert end is not None
    assert before + DAY <= end <= timezone.now() + DAY
    row = audited("rotated")
    assert row.data["successor"] == new.prefix
    assert row.data["grace_seconds"] == DAY.total_seconds()
    assert row.after["expires_at"] == end.isoformat()


def test_rotation_without_grace_ends_the_old_key_at_once(member: Caller) -> None:
    new, text = rotate_api_key(actor=None, key=key_of(member), grace=timedelta(0))
    assert find_key(member.key) is None
    assert find_key(str(text)) == new


def test_a_grace_never_lengthens_a_keys_life(member: Caller) -> None:
    soon = timezone.now() + timedelta(minutes=5)
    ApiKey.objects.update(expires_at=soon)
    old = key_of(member)
    rotate_api_key(actor=None, key=old, grace=DAY)
    assert ApiKey.objects.get(pk=old.pk).expires_at == soon


@pytest.mark.parametrize("grace", [-timedelta(seconds=1), timedelta(days=31)])
def test_an_impossible_grace_is_refused(member: Caller, grace: timedelta) -> None:
    with pytest.raises(AppError, match="grace_seconds"):
        rotate_api_key(actor=None, key=key_of(member), grace=grace)


def test_a_key_is_rotated_once_and_then_its_successor(member: Caller) -> None:
    old = key_of(member)
    new, _ = rotate_api_key(actor=None, key=old)
    with pytest.raises(AppError, match=f"lg_{new.prefix}_") as caught:
        rotate_api_key(actor=None, key=old)
    assert caught.value.code is ErrorCode.CONFLICT
    newest, _ = rotate_api_key(actor=None, key=new)
    assert newest.replaces == new


def test_rotation_sheds_no_limit_of_the_key(member: Caller) -> None:
    old = key_of(member)
    LimitPolicy.objects.create(api_key=old, daily_tokens=100)
    new, _ = rotate_api_key(actor=member.user, key=old)
    assert LimitPolicy.objects.get(api_key=new).daily_tokens == 100
    assert LimitPolicy.objects.get(api_key=old).daily_tokens == 100


def narrow_key(caller: Caller) -> ApiKey:
    key, _ = create_api_key(
        actor=None, user=caller.user, name="narrow", allowed_models=["m"], scopes=[]
    )
    return key


def test_a_narrow_key_makes_changes_and_rotates_nothing_wider(member: Caller) -> None:
    narrow, wide = narrow_key(member), ApiKey.objects.get(name="test")
    asking: dict[str, Any] = {"actor": member.user, "acting_key": narrow}
    for deed in (
        lambda: create_api_key(**asking, user=member.user, name="n"),
        lambda: change_api_key(**asking, key=narrow, changes={"allowed_models": []}),
        lambda: change_api_key(**asking, key=narrow, changes={"allowed_models": ["m", "o"]}),
        lambda: rotate_api_key(**asking, key=wide),
    ):
        with pytest.raises(AppError, match="allowed_models: ") as caught:
            deed()
        assert caught.value.code is ErrorCode.PERMISSION_DENIED
    made, _ = create_api_key(**asking, user=member.user, name="n", allowed_models=["m"])
    assert made.allowed_models == ["m"]
    assert ApiKey.objects.get(pk=narrow.pk).allowed_models == ["m"]


def test_an_admins_key_is_bound_by_nothing_but_its_scope(admin: Caller) -> None:
    key = narrow_key(admin)
    made, _ = create_api_key(actor=admin.user, acting_key=key, user=admin.user, name="n")
    assert made.allowed_models == []


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_many_rotations_at_once_one_succeeds() -> None:
    key = key_of(make_caller("user"))

    def rotate(_: int) -> str:
        try:
            rotate_api_key(actor=None, key=key)
        except AppError as error:
            return str(error.code)
        finally:
            connection.close()
        return "rotated"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(rotate, range(8)))
    assert sorted(outcomes) == ["CONFLICT"] * 7 + ["rotated"]
    assert ApiKey.objects.count() == 2
