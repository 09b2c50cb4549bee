from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connections

from accounts.models import User
from accounts.services.first_admin import FirstAdmin, ensure_first_admin
from monitoring.models import AuditLog
from tests.conftest import PASSWORD


@pytest.mark.django_db
def test_the_first_admin_gets_a_random_password_in_a_private_file() -> None:
    outcome = ensure_first_admin()
    path = outcome.password_file
    assert outcome.created
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    admin = User.objects.get(username="admin")
    assert admin.check_password(path.read_text().strip())
    assert admin.role.slug == "admin"


@pytest.mark.django_db
def test_the_first_admin_is_made_once() -> None:
    first = ensure_first_admin()
    again = ensure_first_admin()
    assert not again.created
    assert again.password_file == first.password_file
    assert User.objects.count() == 1


@pytest.mark.django_db
def test_a_given_password_is_used_and_written_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    path = settings.LLAMA.data_dir / "initial_admin_password"
    path.unlink(missing_ok=True)
    monkeypatch.setattr(settings, "INITIAL_ADMIN_PASSWORD", PASSWORD)
    outcome = ensure_first_admin()
    assert outcome.password_file is None
    assert not path.exists()
    assert User.objects.get().check_password(PASSWORD)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_twenty_starts_at_once_make_exactly_one_admin() -> None:
    password_file().unlink(missing_ok=True)
    everybody = threading.Barrier(20)

    def start(_: int) -> FirstAdmin:
        try:
            everybody.wait()
            return ensure_first_admin()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as threads:
        outcomes = list(threads.map(start, range(20)))
    assert [outcome.created for outcome in outcomes].count(True) == 1
    admin = User.objects.get(role__slug="admin")
    assert {outcome.username for outcome in outcomes} == {admin.username}
    assert admin.check_password(password_file().read_text().strip())
    assert AuditLog.objects.filter(action="user.created").count() == 1


def password_file() -> Path:
    path: Path = settings.LLAMA.data_dir / "initial_admin_password"
    return path
