"""Tells listeners of calls that were refused for lack of a right, so that they can be kept.

The REST exception handler and the 403 page report by themselves; what answers in another way (a
consumer, an admin action) calls `report`. This package writes nothing itself: monitoring listens.
Calls that would have made work are told of whatever the reason, to listeners of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llamagpu.http.permissions import Access, Public, Resource, Rule, rule_for

logger = logging.getLogger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """`user` is None for an address without a usable key; `route` is the URL pattern, not the URL.

    `rule` is the right that was needed, e.g. `system_config write`; `reason` is what the caller read.
    """

    user: Any
    method: str
    route: str
    rule: str
    reason: str


Listener = Callable[[Refusal], None]
#: Gets REST framework's request and the error that its caller read.
CallListener = Callable[[Any, Any], None]

_listeners: list[Listener] = []
_call_listeners: list[CallListener] = []


def add_listener(listener: Listener) -> None:
    if listener not in _listeners:
        _listeners.append(listener)


def add_call_listener(listener: CallListener) -> None:
    if listener not in _call_listeners:
        _call_listeners.append(listener)


def report_call(request: Any, view: Any, error: Any) -> None:
    """An authenticated caller's call that makes work ended with `error` before there was any."""
    user = getattr(request, "user", None)
    if not getattr(view, "takes_idempotency_key", False) or request.method in SAFE_METHODS:
        return
    if user is None or not user.is_authenticated:
        return
    for listener in _call_listeners:
        try:
            listener(request, error)
        except Exception:
            logger.exception("a refused call could not be noted")


def report(refusal: Refusal) -> None:
    """Tell everybody. A listener that fails is logged: a refusal stays one."""
    for listener in _listeners:
        try:
            listener(refusal)
        except Exception:
            logger.exception("a refusal could not be noted")


def report_denied(request: Any, view: Any, reason: str) -> None:
    """An authenticated caller got a 403. Reads of what is not system configuration are left out."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return
    method = request.method or ""
    rule = rule_for(view, method) if view is not None else None
    if method in SAFE_METHODS and not _is_configuration(rule):
        return
    report(Refusal(user, method, route_of(request), describe_rule(rule), reason))


def report_throttled(request: Any, reason: str) -> None:
    """An address without a usable key got a 429."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        report(Refusal(None, request.method or "", route_of(request), "attempts", reason))


def route_of(request: Any) -> str:
    """The pattern of the request's URL, such as `api/users/<int:pk>`: no ids, no query."""
    match = getattr(request, "resolver_match", None)
    route = str(match.route) if match is not None else ""
    return route.replace("api/v1/", "api/", 1) if route.startswith("api/v1/") else route


def describe_rule(rule: Rule | None) -> str:
    if isinstance(rule, Access):
        return f"{rule.resource} {rule.action}"
    if isinstance(rule, Public):
        return "public"
    return "signed in" if rule is not None else ""


def _is_configuration(rule: Rule | None) -> bool:
    return isinstance(rule, Access) and rule.resource is Resource.SYSTEM_CONFIG
