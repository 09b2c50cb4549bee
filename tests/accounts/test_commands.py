from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command

from accounts.models import ApiKey
from accounts.services.key_authentication import find_key
from tests.conftest import Caller


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_key_create_prints_the_key_alone(member: Caller) -> None:
    said = run("key", "create", "--user", member.user.username, "--name", "mine")
    key = find_key(said.strip())
    assert said.count("\n") == 1
    assert key is not None
    assert key.name == "mine"


def test_key_create_takes_scopes(member: Caller) -> None:
    run("key", "create", "--user", "the-user", "--name", "n", "--scopes", "infer", "batch")
    assert ApiKey.objects.get(name="n").scopes == ["batch", "infer"]


def test_key_create_for_nobody_is_an_error(member: Caller) -> None:
    with pytest.raises(CommandError, match="no user 'nobody'"):
        run("key", "create", "--user", "nobody", "--name", "n")


def test_key_create_with_an_unknown_scope_is_an_error(member: Caller) -> None:
    with pytest.raises(CommandError, match="scopes: 'all'"):
        run("key", "create", "--user", "the-user", "--name", "n", "--scopes", "all")


def test_key_list_never_shows_a_secret(member: Caller) -> None:
    secret = member.key.split("_")[2]
    plain, machine = run("key", "list"), run("key", "list", "--json")
    assert secret not in plain + machine
    assert json.loads(machine)[0]["user"] == "the-user"
    assert run("key", "list", "--user", "nobody", "--json").strip() == "[]"


def test_key_revoke_ends_the_key(member: Caller) -> None:
    run("key", "revoke", member.key.split("_")[1])
    assert find_key(member.key) is None
    with pytest.raises(CommandError, match="no key"):
        run("key", "revoke", "nothing0")


@pytest.mark.django_db
def test_ensure_admin_says_where_the_password_is() -> None:
    first = json.loads(run("ensure_admin", "--json"))
    assert first["created"] is True
    assert first["username"] == "admin"
    assert "first password is in" in run("ensure_admin")
