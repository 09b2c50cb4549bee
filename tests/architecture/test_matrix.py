"""Every address, every method, every caller: allowed exactly where the matrix and the rule say so.

The addresses come from the URL conf, the rules from the views, the rights from the database. A new
address is covered as soon as it stands in the URL conf; what is expected is worked out here from the
rows alone and not by the code under test.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.test import Client
from django.urls import get_resolver

from accounts.limit_subjects import LIMIT_NAMES
from accounts.models import ApiKey, Role, RolePermission, User
from accounts.services.api_keys import create_api_key, revoke_api_key
from accounts.services.limits import set_limits
from accounts.services.roles import create_role
from accounts.services.users import create_user
from llamagpu.http.endpoints import METHODS, methods_of, walk_views
from llamagpu.http.permissions import Access, Action, Public, Rule, SignedIn, rule_for
from llamagpu.http.programs import is_api
from tests.conftest import PASSWORD

ROLES = ("admin", "operator", "user", "guest")
CALLERS = (
    "anonymous",
    *(f"{role} by session" for role in ROLES),
    *(f"{role} by key" for role in ROLES),
    "auditor by session",
    "auditor by key",
    "admin by the narrowest key",
    "admin by a revoked key",
)
# A role that nobody foresaw: what it may stands in its rows alone.
AUDITOR = {"system_config": "R", "models": "RW"}
# Nothing has these names, so that who is allowed finds nothing and changes nothing.
PARAMETERS = {"int": "999999999", "uuid": str(uuid.UUID(int=0)), "path": "no/such"}
# What a refusal may write: that it happened.
WRITTEN_BY_REFUSALS = {"auditlog", "audithead"}


@dataclass(frozen=True)
class Probe:
    """One method of one address, with a path that can be called."""

    method: str
    path: str
    rule: Rule | None
    is_handled: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def probes() -> Iterator[Probe]:
    """Every method of every address; `/api/v1/` is the same views again (tested below)."""
    for route, view in walk_views(get_resolver().url_patterns):
        if route.startswith("api/v1/"):
            continue
        path = "/" + re.sub(
            r"<(?:(\w+):)?\w+>", lambda found: PARAMETERS.get(found[1] or "", "no-such"), route
        )
        handled = methods_of(view)
        for method in METHODS:
            yield Probe(method, path, rule_for(view, method), method in handled)


@pytest.fixture(autouse=True)
def unlimited(redis_client: Any, db: None) -> None:
    """So many calls would meet the limits of requests a minute."""
    for role in ROLES:
        lift_limits(role)


@dataclass
class Caller:
    """`rights` are pairs of resource and action; `key` is None for a session."""

    client: Callable[[], Client]
    signed_in: bool
    rights: set[tuple[str, str]]
    key: ApiKey | None

    def expects(self, probe: Probe) -> bool:
        """Whether the rows of the matrix and the declared rule let this caller pass."""
        if isinstance(probe.rule, Public):
            # A key stands or falls: with one that has ended, nothing of the API is open.
            return self.signed_in or self.key is None or not is_api(probe.path)
        opens = self.signed_in and (self.key is None or is_api(probe.path))
        if probe.rule is None or not opens:
            return False
        scope = probe.rule.scope
        in_scope = self.key is None or not self.key.scopes or scope is None
        in_scope = in_scope or scope in self.key.scopes  # type: ignore[union-attr]
        if isinstance(probe.rule, SignedIn):
            return in_scope
        assert isinstance(probe.rule, Access)
        return in_scope and (probe.rule.resource.value, probe.rule.action.value) in self.rights


@pytest.fixture
def caller(request: pytest.FixtureRequest) -> Caller:
    name: str = request.param
    if name == "anonymous":
        return Caller(browser, False, set(), None)
    role, _, how = name.partition(" by ")
    if role == "auditor":
        create_role(actor=None, slug=role, name="Auditor", rights=AUDITOR)
        lift_limits(role)
    user = create_user(actor=None, username="prober", password=PASSWORD, role=role)
    if how == "session":
        return Caller(lambda: signed_in(user), True, rights_of(role), None)
    scopes = ["metrics"] if how == "the narrowest key" else []
    key, text = create_api_key(actor=None, user=user, name="probe", scopes=scopes)
    is_revoked = how == "a revoked key"
    if is_revoked:
        revoke_api_key(actor=None, key=key)
    headers = {"Authorization": f"Bearer {text}"}
    return Caller(lambda: browser(headers=headers), not is_revoked, rights_of(role), key)


@pytest.mark.parametrize("caller", CALLERS, indirect=True)
def test_each_caller_passes_exactly_where_the_matrix_says(
    caller: Caller, redis_client: Any
) -> None:
    wrong, client, before = [], caller.client(), everything()
    handled = [probe for probe in probes() if probe.is_handled]
    # Those that shall be refused come first: all of them together must change nothing.
    for probe in sorted(handled, key=caller.expects):
        expected = caller.expects(probe)
        if expected and before:
            assert everything() == before, "a call that was refused changed something"
            before = {}
        redis_client.flushall()  # a throttled address would hide what it may
        answer = send(client, probe)
        if answer.status_code == 500:
            wrong.append(f"{probe}: broke")
        elif is_refusal(answer, probe) == expected:
            wrong.append(f"{probe}: {'refused' if expected else 'let in'}")
        if probe.method != "GET" and not is_api(probe.path):
            client = caller.client()  # a page may have signed out
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("caller", ["guest by session", "admin by key"], indirect=True)
def test_a_method_without_a_handler_changes_nothing_for_anybody(caller: Caller) -> None:
    client, before = caller.client(), everything()
    for probe in probes():
        if not probe.is_handled:
            status = send(client, probe).status_code
            assert status < 500, str(probe)
            assert probe.path.startswith("/api/") <= (status in {401, 403, 405}), str(probe)
    assert everything() == before


def test_the_alias_is_the_same_views_again() -> None:
    found = dict(walk_views(get_resolver().url_patterns))
    alias = {
        route.removeprefix("api/v1/"): view
        for route, view in found.items()
        if route.startswith("api/v1/")
    }
    assert alias == {
        route.removeprefix("api/"): view
        for route, view in found.items()
        if route.startswith("api/") and not route.startswith("api/v1/")
    }


def test_the_walk_covers_the_site() -> None:
    found = {str(probe) for probe in probes() if probe.is_handled}
    assert len(found) > 50
    assert {"POST /api/infer", "PATCH /api/users/999999999", "GET /roles"} <= found
    assert {"GET /livez", "POST /logout/"} <= found


def test_every_kind_of_caller_meets_both_answers() -> None:
    """Otherwise the test above would prove nothing."""
    rules = [probe.rule for probe in probes() if probe.is_handled]
    assert any(isinstance(rule, Public) for rule in rules)
    assert any(isinstance(rule, SignedIn) for rule in rules)
    actions = {(rule.resource, rule.action) for rule in rules if isinstance(rule, Access)}
    assert len(actions) >= 6


def lift_limits(role: str) -> None:
    set_limits(actor=None, subject=f"role:{role}", **dict.fromkeys(LIMIT_NAMES, -1))


def rights_of(slug: str) -> set[tuple[str, str]]:
    """The role's rights, read from its rows."""
    rights = set()
    for cell in RolePermission.objects.filter(role=Role.objects.get(slug=slug)):
        rights |= {(cell.resource, Action.READ.value)} if cell.can_read else set()
        rights |= {(cell.resource, Action.WRITE.value)} if cell.can_write else set()
    return rights


def browser(**defaults: Any) -> Client:
    return Client(raise_request_exception=False, **defaults)


def signed_in(user: User) -> Client:
    client = browser()
    user.refresh_from_db()  # its sessions may have been ended
    client.force_login(user, backend="accounts.backends.RoleBackend")
    return client


def send(client: Client, probe: Probe) -> Any:
    """The call with an empty body: who is allowed is told what is missing."""
    if is_api(probe.path):
        return client.generic(probe.method, probe.path, b"{}", content_type="application/json")
    return client.generic(
        probe.method, probe.path, b"", content_type="application/x-www-form-urlencoded"
    )


def is_refusal(answer: Any, probe: Probe) -> bool:
    if answer.status_code in (401, 403):
        return True
    to_sign_in = answer.headers.get("Location", "").startswith(settings.LOGIN_URL)
    return not isinstance(probe.rule, Public) and answer.status_code == 302 and to_sign_in


def everything() -> dict[str, Any]:
    """Every row of our tables but those that tell of refusals and of a key's last use."""
    state: dict[str, Any] = {}
    for model in apps.get_models():
        name = model._meta.model_name or ""
        ours = model._meta.app_label in ("accounts", "inference", "monitoring", "plugins_app")
        if ours and name not in WRITTEN_BY_REFUSALS:
            fields = [
                field.attname
                for field in model._meta.concrete_fields
                if field.attname not in ("last_used_at", "last_login")
            ]
            state[name] = sorted(map(repr, model._base_manager.values_list(*fields)))
    return state
