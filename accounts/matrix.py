"""Who may what, drawn from the roles' rows and the rules that the addresses declare."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from accounts.models import Role
from accounts.rights import rights_of
from llamagpu.http.endpoints import endpoints
from llamagpu.http.permissions import Access, Action, Public, Resource, Rule, SignedIn

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """A resource and the right of each role, in the roles' order: "RW", "R" or an empty string."""

    resource: str
    rights: list[str]


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One call: what it needs, what a key needs besides, and which roles pass, in their order."""

    method: str
    address: str
    needs: str
    scope: str
    passes: list[bool]
    is_api: bool


def matrix_rows(roles: Iterable[Role]) -> list[MatrixRow]:
    columns = [rights_of(role) for role in roles]
    return [
        MatrixRow(resource.value.replace("_", " "), [rights[resource] for rights in columns])
        for resource in Resource
    ]


def endpoint_rows(roles: Sequence[Role]) -> list[EndpointRow]:
    """Every call of the site but Django admin's, those of the API first."""
    columns = [rights_of(role) for role in roles]
    rows = [
        EndpointRow(
            method=endpoint.method,
            address="/" + _PARAMETER.sub(r"{\1}", endpoint.route),
            needs=need_of(endpoint.rule),
            scope=scope_of(endpoint.rule),
            passes=[role_passes(endpoint.rule, rights) for rights in columns],
            is_api=endpoint.is_api,
        )
        for endpoint in endpoints()
    ]
    return sorted(rows, key=lambda row: (not row.is_api, row.address))


def role_passes(rule: Rule | None, rights: Mapping[str, str]) -> bool:
    """Whether somebody with these rights passes `rule`, signed in or with a key for everything."""
    if isinstance(rule, Access):
        letter = "W" if rule.action is Action.WRITE else "R"
        return letter in rights[rule.resource.value]
    return rule is not None


def need_of(rule: Rule | None) -> str:
    """Such as `write models`, for people."""
    if isinstance(rule, Access):
        return f"{rule.action} {rule.resource.value.replace('_', ' ')}"
    if isinstance(rule, Public):
        return "nothing"
    return "an account" if rule is not None else "closed"


def scope_of(rule: Rule | None) -> str:
    """The scope that a narrowed key must carry, or an empty string."""
    scope = rule.scope if isinstance(rule, Access | SignedIn) else None
    return scope.value if scope is not None else ""
