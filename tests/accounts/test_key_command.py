"""manage.py key"""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import ApiKey
from accounts.services.key_authentication import find_key
from tests.conftest import Caller


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_create_prints_the_key_alone(member: Caller) -> None:
    said = run("key", "create", "--user", member.user.username, "--name", "mine")
    key = find_key(said.strip())
    assert said.count("\n") == 1
    assert key is not None
    assert key.name == "mine"


def test_create_takes_scopes(member: Caller) -> None:
    run("key", "create", "--user", "the-user", "--name", "n", "--scopes", "infer", "batch")
    assert ApiKey.objects.get(name="n").scopes == ["batch", "infer"]


def test_create_for_nobody_is_an_error(member: Caller) -> None:
    with pytest.raises(CommandError, match="no user 'nobody'"):
        run("key", "create", "--user", "nobody", "--name", "n")


def test_create_with_an_unknown_scope_is_an_error(member: Caller) -> None:
    with pytest.raises(CommandError, match="scopes: 'all'"):
        run("key", "create", "--user", "the-user", "--name", "n", "--scopes", "all")


def test_list_never_shows_a_secret(member: Caller) -> None:
    secret = member.key.split("_")[2]
    plain, machine = run("key", "list"), run("key", "list", "--json")
    assert secret not in plain + machine
    assert json.loads(machine)[0]["user"] == "the-user"
    assert run("key", "list", "--user", "nobody", "--json").strip() == "[]"


def test_revoke_ends_the_key(member: Caller) -> None:
    run("key", "revoke", member.key.split("_")[1])
    assert find_key(member.key) is None
    with pytest.raises(CommandError, match="no key"):
        run("key", "revoke", "nothing0")


def test_create_takes_everything_that_narrows_a_key(member: Caller) -> None:
    narrow = ["--models", "a", "b", "--ips", "10.0.0.0/8", "--expires-in", "30d"]
    run("key", "create", "--user", "the-user", "--name", "n", *narrow)
    key = ApiKey.objects.get(name="n")
    assert (key.allowed_models, key.allowed_ips) == (["a", "b"], ["10.0.0.0/8"])
    assert key.expires_at is not None
    left = key.expires_at - timezone.now()
    assert timedelta(days=29) < left <= timedelta(days=30)


def test_create_tells_programs_about_the_key(member: Caller) -> None:
    said = json.loads(run("key", "create", "--user", "the-user", "--name", "n", "--json"))
    key = find_key(said["key"])
    assert key is not None
    assert (said["prefix"], said["state"]) == (key.prefix, "usable")


@pytest.mark.parametrize("wrong", ["30", "d", "-1d", "1y", "9999999d"])
def test_an_odd_length_of_time_is_an_error(member: Caller, wrong: str) -> None:
    with pytest.raises(CommandError, match="expires-in"):
        run("key", "create", "--user", "the-user", "--name", "n", f"--expires-in={wrong}")


def test_show_tells_all_but_the_secret(member: Caller) -> None:
    prefix = member.key.split("_")[1]
    plain, machine = run("key", "show", prefix), run("key", "show", prefix, "--json")
    assert member.key.split("_")[2] not in plain + machine
    assert "state: usable" in plain
    assert "scopes: -" in plain
    assert json.loads(machine)["user"] == "the-user"
    assert run("key", "show", str(ApiKey.objects.get().pk)) == plain


def test_rotate_prints_the_new_key_alone(member: Caller) -> None:
    said = run("key", "rotate", member.key.split("_")[1])
    new = find_key(said.strip())
    assert new is not None
    assert new.replaces == find_key(member.key)


def test_rotate_without_grace_ends_the_old_key(member: Caller) -> None:
    said = json.loads(run("key", "rotate", member.key.split("_")[1], "--grace", "0", "--json"))
    assert find_key(said["key"]) is not None
    assert find_key(member.key) is None
    with pytest.raises(CommandError, match="revoked"):
        run("key", "rotate", member.key.split("_")[1])
