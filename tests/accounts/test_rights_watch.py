from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from django.utils import timezone

from accounts import rights_watch
from accounts.models import ApiKey, Role, RolePermission, User
from accounts.rights_watch import Holder, RightLost, find_losses, holder_of, watch_rights
from accounts.services.api_keys import change_api_key, create_api_key, revoke_api_key
from llamagpu.http.permissions import INFER
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import Caller, make_caller

PATIENCE = 30


def key_holder(caller: Caller, **more: str) -> Holder:
    user = User.objects.get(pk=caller.user.pk)
    return holder_of(user, ApiKey.objects.get(user=user), INFER, **more)


def session_holder(caller: Caller) -> Holder:
    return holder_of(User.objects.get(pk=caller.user.pk), None, INFER)


def reason(holder: Holder) -> ErrorCode | None:
    loss = find_losses([holder]).get(holder)
    return loss.code if loss else None


def test_who_may_go_on_loses_nothing(member: Caller) -> None:
    assert find_losses([key_holder(member), session_holder(member)]) == {}


def test_a_revoked_key_ends_its_calls_but_not_the_session(member: Caller) -> None:
    by_key, by_session = key_holder(member), session_holder(member)
    revoke_api_key(actor=None, key=ApiKey.objects.get())
    assert reason(by_key) is ErrorCode.AUTHENTICATION_FAILED
    assert reason(by_session) is None


def test_an_expired_key_ends_its_calls(member: Caller) -> None:
    holder = key_holder(member)
    ApiKey.objects.update(expires_at=timezone.now())
    assert reason(holder) is ErrorCode.AUTHENTICATION_FAILED


def test_a_deleted_key_or_user_ends_its_calls(member: Caller) -> None:
    by_key, by_session = key_holder(member), session_holder(member)
    ApiKey.objects.all().delete()
    assert reason(by_key) is ErrorCode.AUTHENTICATION_FAILED
    User.objects.all().delete()
    assert reason(by_session) is ErrorCode.AUTHENTICATION_FAILED


def test_a_deactivated_owner_ends_both(member: Caller) -> None:
    holders = [key_holder(member), session_holder(member)]
    User.objects.update(is_active=False)
    assert {loss.code for loss in find_losses(holders).values()} == {
        ErrorCode.AUTHENTICATION_FAILED
    }
    assert len(find_losses(holders)) == 2


def test_ended_sessions_end_what_they_opened_but_not_the_keys(member: Caller) -> None:
    by_key, by_session = key_holder(member), session_holder(member)
    User.objects.update(session_epoch=1)
    assert reason(by_session) is ErrorCode.AUTHENTICATION_FAILED
    assert reason(by_key) is None


def test_a_demoted_owner_loses_the_right(member: Caller) -> None:
    holder = key_holder(member)
    User.objects.update(role=Role.objects.get(slug="guest"))
    assert reason(holder) is ErrorCode.PERMISSION_DENIED


def test_a_changed_cell_of_the_role_counts_at_once(member: Caller) -> None:
    holder = key_holder(member)
    RolePermission.objects.filter(role__slug="user", resource="inference").update(can_write=False)
    assert reason(holder) is ErrorCode.PERMISSION_DENIED


def test_a_narrowed_key_loses_scope_model_and_address(member: Caller) -> None:
    holder = key_holder(member, peer="10.0.0.1", model="llama")
    key = ApiKey.objects.get()
    for narrowed, widened in (
        ({"scopes": ["models:read"]}, {"scopes": []}),
        ({"allowed_models": ["other"]}, {"allowed_models": ["llama"]}),
        ({"allowed_ips": ["192.0.2.0/24"]}, {"allowed_ips": ["10.0.0.0/8"]}),
    ):
        change_api_key(actor=None, key=key, changes=narrowed)
        assert reason(holder) is ErrorCode.PERMISSION_DENIED
        change_api_key(actor=None, key=key, changes=widened)
        assert reason(holder) is None


def test_any_number_of_callers_takes_three_queries(
    member: Caller, operator: Caller, django_assert_num_queries: Any
) -> None:
    holders = []
    for number in range(20):
        key, _ = create_api_key(actor=None, user=member.user, name=str(number))
        holders.append(holder_of(member.user, key, INFER))
    holders += [session_holder(member), session_holder(operator)]
    with django_assert_num_queries(3):
        assert find_losses(holders) == {}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights_watch, "INTERVAL", 0.02)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
async def test_the_loser_is_told_once_and_the_others_go_on(quick: None) -> None:
    one = await sync_to_async(make_caller)("user")
    two = await sync_to_async(make_caller)("operator")
    told: list[RightLost] = []
    lost = asyncio.Event()

    def tell(reason: RightLost) -> None:
        told.append(reason)
        lost.set()

    with (
        watch_rights(await sync_to_async(key_holder)(one), tell) as first,
        watch_rights(await sync_to_async(key_holder)(two)) as second,
    ):
        key = await ApiKey.objects.aget(user=one.user)
        await sync_to_async(revoke_api_key)(actor=None, key=key)
        await asyncio.wait_for(lost.wait(), PATIENCE)
        await asyncio.sleep(0.1)
        assert second.lost is None
    await sync_to_async(connections.close_all)()  # those of the thread behind `sync_to_async`
    assert first.lost is not None
    assert [reason.code for reason in told] == [ErrorCode.AUTHENTICATION_FAILED]


async def test_all_are_asked_about_together_and_nobody_when_nobody_is_there(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    enough = asyncio.Event()

    def count(holders: list[Holder]) -> dict[Holder, RightLost]:
        asked.append(len(holders))
        if len(asked) == 3:
            loop.call_soon_threadsafe(enough.set)
        return {}

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(rights_watch, "find_losses", count)
    with watch_rights(Holder(1, INFER, 1)), watch_rights(Holder(2, INFER)):
        await asyncio.wait_for(enough.wait(), PATIENCE)
    num_looks = len(asked)
    await asyncio.sleep(0.1)
    assert set(asked) == {2}
    assert len(asked) <= num_looks + 1  # one look may have been under way
    assert rights_watch._watcher_of_this_loop()._task is None


async def test_a_database_that_is_away_takes_nobodys_right(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [OperationalError("away"), {}]
    back = asyncio.Event()

    def look(holders: list[Holder]) -> dict[Holder, RightLost]:
        answer = answers.pop(0) if answers else {}
        if not answers:
            loop.call_soon_threadsafe(back.set)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(rights_watch, "find_losses", look)
    with watch_rights(Holder(1, INFER, 1)) as watch:
        await asyncio.wait_for(back.wait(), PATIENCE)
        assert watch.lost is None
