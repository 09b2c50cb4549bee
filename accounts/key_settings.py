"""What can be chosen about a key: checked field by field, and against what another key may hand out."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from django.utils import timezone

from accounts.models import ApiKey, User
from accounts.retention import check_retention
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Action, Resource, Scope
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.retention import Retention

MAX_NAME_LENGTH = 100
MAX_ENTRIES = 64

#: The right that a scope narrows a key to: a role without it cannot use the scope.
SCOPE_RIGHTS: dict[Scope, tuple[Resource, Action]] = {
    Scope.INFER: (Resource.INFERENCE, Action.WRITE),
    Scope.BATCH: (Resource.INFERENCE, Action.WRITE),
    Scope.MODELS_READ: (Resource.MODELS, Action.READ),
    Scope.MODELS_WRITE: (Resource.MODELS, Action.WRITE),
    Scope.PLUGINS_READ: (Resource.PLUGINS, Action.READ),
    Scope.PLUGINS_WRITE: (Resource.PLUGINS, Action.WRITE),
    Scope.METRICS: (Resource.MONITORING, Action.READ),
    Scope.AUDIT: (Resource.SYSTEM_CONFIG, Action.READ),
    Scope.ADMIN: (Resource.SYSTEM_CONFIG, Action.READ),
}

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


def check_settings(owner: User, values: Mapping[str, Any]) -> dict[str, Any]:
    """The given settings of a key in the form that is stored; those not given are absent.

    Known are name, scopes, allowed_models, allowed_ips, retention and expires_at. Raises AppError
    INVALID_INPUT that names the field.
    """
    checked: dict[str, Any] = {}
    for field, value in values.items():
        if field == "name":
            checked[field] = _name(value)
        elif field == "scopes":
            checked[field] = _scopes(value, owner)
        elif field == "allowed_models":
            checked[field] = _models(value)
        elif field == "allowed_ips":
            checked[field] = _networks(value)
        elif field == "retention":
            checked[field] = _retention(value)
        elif field == "expires_at":
            checked[field] = _expiry(value)
        else:
            _refuse(field, "is no setting of a key")
    return checked


def usable_scopes(owner: User) -> list[Scope]:
    """The scopes that the owner's role can use now."""
    return [scope for scope, right in SCOPE_RIGHTS.items() if owner.can(*right)]


def check_within(settings: Mapping[str, Any], bound: ApiKey) -> None:
    """Raises AppError PERMISSION_DENIED, naming the field, where `settings` reach beyond `bound`.

    So a narrow key cannot make a wide one: what it lacks, no key that it makes or changes has.
    """
    if not _is_part(settings["scopes"], bound.scopes):
        _deny("scopes", "beyond those of the key that asks")
    if not _is_part(settings["allowed_models"], bound.allowed_models):
        _deny("allowed_models", "beyond those of the key that asks")
    if bound.allowed_ips and not (
        settings["allowed_ips"] and all(_lies_in(ip, bound) for ip in settings["allowed_ips"])
    ):
        _deny("allowed_ips", "beyond those of the key that asks")
    wanted = Retention.parse(settings["retention"] or "full")
    if wanted != wanted.or_stricter(Retention.parse(bound.retention or "full")):
        _deny("retention", "beyond that of the key that asks")
    expires_at = settings["expires_at"]
    if bound.expires_at is not None and (expires_at is None or expires_at > bound.expires_at):
        _deny("expires_at", "later than that of the key that asks")


def _is_part(wanted: Iterable[str], allowed: Iterable[str]) -> bool:
    """Whether a list narrows at least as much as another; an empty one does not narrow."""
    return not allowed or (bool(wanted) and set(wanted) <= set(allowed))


def _lies_in(text: str, bound: ApiKey) -> bool:
    network = ipaddress.ip_network(text)
    for allowed in bound.allowed_ips:
        outer = ipaddress.ip_network(allowed)
        if isinstance(network, ipaddress.IPv4Network):
            if isinstance(outer, ipaddress.IPv4Network) and network.subnet_of(outer):
                return True
        elif isinstance(outer, ipaddress.IPv6Network) and network.subnet_of(outer):
            return True
    return False


def _name(value: Any) -> str:
    name = value.strip() if isinstance(value, str) else ""
    if not name or len(name) > MAX_NAME_LENGTH:
        _refuse("name", f"must have 1 to {MAX_NAME_LENGTH} characters")
    if not name.isprintable():
        _refuse("name", "must be one line of printable characters")
    return name


def _scopes(value: Any, owner: User) -> list[str]:
    scopes = _strings("scopes", value)
    known = [scope.value for scope in Scope]
    for scope in scopes:
        if scope not in known:
            _refuse("scopes", f"'{scope[:40]}' is not one of {', '.join(known)}")
    usable = usable_scopes(owner)
    for scope in scopes:
        if scope not in usable:
            _refuse("scopes", f"'{scope}' is more than the role '{owner.role.slug}' may do")
    return scopes


def _models(value: Any) -> list[str]:
    slugs = _strings("allowed_models", value)
    for slug in slugs:
        if not _SLUG.fullmatch(slug):
            _refuse("allowed_models", f"'{slug[:40]}' is no name of a model")
    return slugs


def _networks(value: Any) -> list[str]:
    found = set()
    for text in _strings("allowed_ips", value):
        network = _network(text)
        if network is None:
            wrong = f"'{text[:40]}' is neither an address nor a network such as 10.0.0.0/8"
            _refuse("allowed_ips", wrong)
        whole = network.prefixlen == network.max_prefixlen
        found.add(str(network.network_address) if whole else str(network))
    return sorted(found)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if "%" in text:  # the name of an interface of this machine: means nothing to a caller
        return None
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _expiry(value: Any) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime) or timezone.is_naive(value):
        _refuse("expires_at", "must be a time with its time zone")
    if value <= timezone.now():
        _refuse("expires_at", "must lie in the future")
    return value


def _retention(value: Any) -> str:
    if not isinstance(value, str):
        _refuse("retention", "must be a string")
    return str(check_retention(value)) if value else ""


def _strings(field: str, value: Any) -> list[str]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        _refuse(field, "must be a list of strings")
    if not all(isinstance(item, str) for item in value):
        _refuse(field, "must be a list of strings")
    if len(value) > MAX_ENTRIES:
        _refuse(field, f"must have at most {MAX_ENTRIES} entries")
    return sorted(set(value))


def _refuse(field: str, message: str) -> NoReturn:
    raise AppError(
        ErrorCode.INVALID_INPUT,
        f"{field}: {message}",
        details=[{"field": field, "message": message}],
    )


def _deny(field: str, message: str) -> NoReturn:
    raise AppError(
        ErrorCode.PERMISSION_DENIED,
        f"{field}: {message}",
        details=[{"field": field, "message": message}],
    )
