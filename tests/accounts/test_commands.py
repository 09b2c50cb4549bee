from __future__ import annotations

import io
import json

import pytest
from django.core.management import call_command


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_ensure_admin_says_where_the_password_is() -> None:
    first = json.loads(run("ensure_admin", "--json"))
    assert first["created"] is True
    assert first["username"] == "admin"
    assert "first password is in" in run("ensure_admin")
