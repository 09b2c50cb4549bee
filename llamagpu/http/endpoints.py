"""Every address of the site with the right that it needs, read from the URL conf itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from llamagpu.http.permissions import Access, Public, Rule, SignedIn, rule_for

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Django admin guards each of its pages itself: `is_staff`, then the role's rights.
_SELF_GUARDED_NAMESPACES = {"admin"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one address. `route` is the URL pattern, such as `api/users/<int:pk>`."""

    method: str
    route: str
    rule: Rule | None

    @property
    def is_api(self) -> bool:
        return self.route.startswith("api/")


def endpoints() -> list[Endpoint]:
    """All of them but Django admin's, the alias `/api/v1/` left out."""
    return [
        Endpoint(method, route, rule_for(view, method))
        for route, view in walk_views(get_resolver().url_patterns)
        if not route.startswith("api/v1/")
        for method in methods_of(view)
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


def methods_of(view: Any) -> list[str]:
    """The methods that a view class handles. A function is taken to answer GET."""
    if not isinstance(view, type):
        return ["GET"]
    return [method for method in METHODS if hasattr(view, method.lower())]


def is_declared(view: Any) -> bool:
    """Whether the view says who may call it."""
    declared = getattr(view, "access", None)
    rules = list(declared.values()) if isinstance(declared, Mapping) else [declared]
    return bool(rules) and all(isinstance(rule, Access | Public | SignedIn) for rule in rules)
