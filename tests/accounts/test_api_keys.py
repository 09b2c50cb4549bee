from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.api_keys import checksum, digest_key, generate_key, parse_key
from accounts.models import ApiKey
from accounts.services.api_keys import create_api_key, revoke_api_key
from accounts.services.key_authentication import authenticate_key, find_key
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Scope
from monitoring.models import AuditLog
from tests.conftest import Caller


def test_a_key_has_the_documented_form() -> None:
    text = str(generate_key())
    mark, prefix, secret = text.split("_")
    assert (mark, len(prefix), len(secret)) == ("lg", 8, 43)
    assert str(parse_key(text)) == text


def test_a_mistyped_key_fails_its_checksum() -> None:
    text = str(generate_key())
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    assert parse_key(wrong) is None


def test_the_checksum_covers_the_prefix() -> None:
    key = generate_key()
    assert checksum("AAAAAAAA", key.secret[:-6]) != checksum("BBBBBBBB", key.secret[:-6])


def test_a_key_does_not_show_itself_in_a_traceback() -> None:
    key = generate_key()
    assert key.secret not in repr(key)


def test_the_digest_depends_on_the_pepper() -> None:
    key = generate_key()
    assert digest_key(key, "one") != digest_key(key, "two")


def test_only_prefix_and_digest_are_stored(member: Caller) -> None:
    row = ApiKey.objects.get()
    secret = member.key.split("_")[2]
    stored = " ".join(str(value) for value in ApiKey.objects.values().get().values())
    assert secret not in stored
    assert row.prefix in member.key


def test_the_right_key_finds_its_owner(member: Caller) -> None:
    found = find_key(member.key)
    assert found is not None
    assert found.user == member.user


def test_a_right_prefix_with_a_wrong_secret_is_refused(member: Caller) -> None:
    prefix = member.key.split("_")[1]
    body = "A" * 37
    forged = f"lg_{prefix}_{body}{checksum(prefix, body)}"
    assert parse_key(forged) is not None
    assert find_key(forged) is None


@pytest.mark.django_db
def test_an_unknown_key_is_refused() -> None:
    assert find_key(str(generate_key())) is None


@pytest.mark.parametrize(
    "text", ["", "lg_", "Bearer", "lg_abc_def", "x" * 10_000, "lg_ä_ö", "\x00"]
)
@pytest.mark.django_db
def test_what_is_no_key_is_refused(text: str) -> None:
    assert find_key(text) is None


def test_a_revoked_key_is_refused_at_once(member: Caller) -> None:
    revoke_api_key(actor=None, key=ApiKey.objects.get())
    assert find_key(member.key) is None


def test_revoking_twice_is_audited_once(member: Caller) -> None:
    key = ApiKey.objects.get()
    revoke_api_key(actor=member.user, key=key)
    revoke_api_key(actor=member.user, key=key)
    assert AuditLog.objects.filter(action="api_key.revoked").count() == 1


def test_an_expired_key_is_refused(member: Caller) -> None:
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert find_key(member.key) is None


def test_the_key_of_an_inactive_owner_is_refused(member: Caller) -> None:
    member.user.is_active = False
    member.user.save()
    assert find_key(member.key) is None


def test_last_use_is_written_at_most_once_a_minute(member: Caller) -> None:
    authenticate_key(member.key, "")
    first = ApiKey.objects.get().last_used_at
    authenticate_key(member.key, "")
    assert ApiKey.objects.get().last_used_at == first
    ApiKey.objects.update(last_used_at=first - timedelta(minutes=2))
    authenticate_key(member.key, "")
    assert ApiKey.objects.get().last_used_at >= first


def test_a_scope_limits_a_key_and_no_scope_does_not(member: Caller) -> None:
    narrow, _ = create_api_key(actor=None, user=member.user, name="n", scopes=["models:read"])
    assert narrow.has_scope(Scope.MODELS_READ)
    assert not narrow.has_scope(Scope.INFER)
    assert ApiKey.objects.get(name="test").has_scope(Scope.INFER)


def test_an_unknown_scope_is_refused_by_name(member: Caller) -> None:
    with pytest.raises(AppError, match="scopes: 'everything'"):
        create_api_key(actor=None, user=member.user, name="n", scopes=["everything"])


@pytest.mark.parametrize("name", ["", "   ", "x" * 101])
def test_a_key_needs_a_name(member: Caller, name: str) -> None:
    with pytest.raises(AppError, match="name:"):
        create_api_key(actor=None, user=member.user, name=name)


def test_an_owner_sees_own_keys_and_an_admin_all(member: Caller, admin: Caller) -> None:
    assert {key.user for key in ApiKey.objects.visible_to(member.user)} == {member.user}
    assert ApiKey.objects.visible_to(admin.user).count() == 2
