"""The cast: an admin, an operator, a member, a guest, each with a key; and a real Valkey."""

from __future__ import annotations

import math
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
from django.conf import settings as project_settings
from django.db import connection
from django.test import Client
from servestatic.middleware import ServeStaticMiddleware

from accounts import failed_attempts, limit_policies, limits, role_rights
from accounts.models import User
from accounts.services.api_keys import create_api_key
from accounts.services.users import create_user
from inference import admission, routing
from inference.catalog import sync_models
from llamagpu.lib.redis_client import sync_client
from llamagpu.supervisor.valkey import EmbeddedValkey, find_server
from monitoring import audit_guard, configuration
from monitoring.metrics import REGISTRY, Registry, reading
from monitoring.metrics.flusher import Flusher
from monitoring.metrics.reading import Snapshot, read_snapshot
from monitoring.metrics.storage import changes_of
from tests.environment import MODEL_ROOT, PROJECT_ROOT

PASSWORD = "correct horse battery staple"
MODEL = "smollm2-135m-instruct"


_DATABASE_FIXTURES = {"db", "transactional_db", "django_db_reset_sequences"}
# A minute and more each: whoever came to them last would work on alone.
_LONG = {("tests", "e2e"), ("tests", "contract")}

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("no-clock", deadline=None)
hypothesis.settings.load_profile("no-clock")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what uses the database, and puts the longest first: nobody shall work on alone at the end."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if _DATABASE_FIXTURES & fixtures or item.get_closest_marker("django_db"):
            item.add_marker(pytest.mark.database)
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    if item.get_closest_marker("database"):
        return 2
    return 0 if _folder(item) in _LONG or item.path.name == "test_default_model.py" else 1


def _folder(item: pytest.Item) -> tuple[str, ...]:
    return item.path.relative_to(PROJECT_ROOT).parts[:2]


@dataclass(frozen=True)
class Caller:
    """One of the cast with a key: `caller.get(path)`, `caller.post(path, body)`."""

    user: User
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def get(self, path: str) -> Any:
        return Client().get(path, headers=self.headers)

    def post(self, path: str, body: Any, **extra: Any) -> Any:
        return Client().post(
            path, data=body, content_type="application/json", headers=self.headers, **extra
        )


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Tests with real transactions empty every table afterwards: the audit log must let them.

    tests/monitoring/test_audit_guard.py puts its triggers back.
    """
    with django_db_blocker.unblock():
        audit_guard.remove(connection)


@pytest.fixture(scope="session", autouse=True)
def static_files_found_once() -> Iterator[None]:
    """Every client makes the middleware anew, which would look for all files again at its first call."""
    find = ServeStaticMiddleware.add_files_from_finders
    found: list[tuple[dict[str, Any], list[tuple[str, str]]]] = []

    def find_once(middleware: ServeStaticMiddleware) -> None:
        if not found:
            find(middleware)
            found.append((middleware.files, middleware.directories))
        middleware.files, middleware.directories = (part.copy() for part in found[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServeStaticMiddleware, "add_files_from_finders", find_once)
        yield


@pytest.fixture(autouse=True)
def fast_passwords(settings: Any) -> None:
    """Argon2 is slow on purpose; tests/accounts/test_passwords.py sees to the real one."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process remembers of roles, refused keys and settings must not reach from test to test."""
    monkeypatch.setattr(role_rights, "LIFETIME", 0.0)
    monkeypatch.setattr(failed_attempts, "MAX_FAILURES", 1_000_000)
    monkeypatch.setattr(failed_attempts, "_paused_until", 0.0)
    monkeypatch.setattr(failed_attempts, "_TRUSTED_FOR", 0.0)
    monkeypatch.setattr(admission, "_KNOWN_FOR", 0.0)
    monkeypatch.setattr(admission, "_known", (0.0, [], 0))
    monkeypatch.setattr(limit_policies, "LIFETIME", 0.0)
    monkeypatch.setattr(limit_policies, "_remembered", {})
    monkeypatch.setattr(limits, "_away_until", 0.0)
    # The database is asked for the configuration once a test has changed it there.
    monkeypatch.setattr(configuration, "_known", configuration._Known({}, math.inf))
    monkeypatch.setattr(configuration, "_frozen", {})
    monkeypatch.setattr(configuration, "_complaints", set())
    monkeypatch.setattr(routing, "_router", routing.Router())
    monkeypatch.setattr(reading, "LIFETIME", 0.0)


@pytest.fixture(autouse=True)
def fresh_counters(settings: Any) -> None:
    """Users of two tests have the same ids: what one has called must not count for the other."""
    settings.RATELIMIT_CACHE_PREFIX = f"rl:{secrets.token_hex(4)}:"


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """The address of a real server on a unix socket, the one that the settings name."""
    config = project_settings.LLAMA
    socket = config.data_dir / "run" / "valkey.sock"
    server = EmbeddedValkey(config.data_dir, socket, find_server())
    server.prepare()
    process = subprocess.Popen(server.spec.command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while obstacle := server.obstacle():
            assert time.monotonic() < deadline, obstacle
            time.sleep(0.02)
        yield project_settings.REDIS_URL
    finally:
        sync_client(project_settings.REDIS_URL).close()
        process.terminate()
        process.wait()


@pytest.fixture
def redis_client(valkey: str) -> Iterator[Any]:
    """A client of an empty server."""
    client = sync_client(valkey)
    client.flushall()
    yield client


@pytest.fixture
def counted(redis_client: Any) -> Callable[[], Snapshot]:
    """Reads what this process has counted since the test began."""
    families = Registry()  # without its sources: they look at what the test may not have
    for family in REGISTRY.families():
        changes_of(family)
        families.add(family)
    flusher = Flusher(redis_client, "test", families)

    def read() -> Snapshot:
        assert flusher.flush()
        return read_snapshot(redis_client)

    return read


def make_caller(role: str, scopes: tuple[str, ...] = ()) -> Caller:
    user = create_user(actor=None, username=f"the-{role}", password=PASSWORD, role=role)
    _, key = create_api_key(actor=None, user=user, name="test", scopes=scopes)
    return Caller(user, str(key))


@pytest.fixture
def admin(db: None) -> Caller:
    return make_caller("admin")


@pytest.fixture
def operator(db: None) -> Caller:
    return make_caller("operator")


@pytest.fixture
def member(db: None) -> Caller:
    return make_caller("user")


@pytest.fixture
def guest(db: None) -> Caller:
    return make_caller("guest")


@pytest.fixture
def model(db: None) -> Any:
    """The built-in model's row; its files are really there."""
    from inference.models import Model

    assert (MODEL_ROOT / MODEL / "config.json").is_file(), "make setup puts the model there"
    sync_models()
    return Model.objects.get(slug=MODEL)
