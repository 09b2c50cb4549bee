"""System checks of the whole project, run by `manage.py check` and at every start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error
from django.urls import URLPattern, URLResolver, get_resolver

from llamagpu.http.permissions import Access, Public, SignedIn

# Django admin guards each of its pages itself: staff, then model permissions.
_SELF_GUARDED_NAMESPACES = {"admin"}


def check_declared_access(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """llamagpu.E001: a URL whose view does not declare who may call it."""
    return [
        Error(
            f"The view at '/{route}' declares no access rule.",
            hint="Set `access` on the view class, or mark the function with @declare_access.",
            obj=view,
            id="llamagpu.E001",
        )
        for route, view in walk_views(get_resolver().url_patterns)
        if not is_declared(view)
    ]


def walk_views(patterns: Sequence[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(route, view) of every URL; the view is its class where it has one."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if pattern.namespace not in _SELF_GUARDED_NAMESPACES:
                yield from walk_views(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            callback = pattern.callback
            view = getattr(callback, "view_class", None) or getattr(callback, "cls", None)
            yield route, view or callback


def is_declared(view: Any) -> bool:
    declared = getattr(view, "access", None)
    rules = list(declared.values()) if isinstance(declared, Mapping) else [declared]
    return bool(rules) and all(isinstance(rule, Access | Public | SignedIn) for rule in rules)
