"""What the header of every page offers: apps register entries, the caller sees those that open.

An app registers its entries in `AppConfig.ready()`:
`register(NavItem("API keys", "key", "keys", SignedIn(), order=20))`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext

from llamagpu.http.permissions import Rule, allows


class NavGroup(StrEnum):
    """Where an entry stands: in the bar, in its Administration menu, or in the account menu."""

    MAIN = "main"
    ADMINISTRATION = "administration"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class NavItem:
    """One entry. `icon` is a name of Bootstrap Icons, `rule` the one that its page declares."""

    label: str
    icon: str
    url_name: str
    rule: Rule
    order: int = 100
    group: NavGroup = NavGroup.MAIN


@dataclass(frozen=True, slots=True)
class NavLink:
    """An entry as a template shows it; `active` on the page itself."""

    label: str
    icon: str
    url: str
    active: bool


_items: dict[str, NavItem] = {}


def register(item: NavItem) -> None:
    """Offer `item`; a second one with the same URL name replaces the first."""
    _items[item.url_name] = item


def unregister(url_name: str) -> None:
    """No longer offer the entry of that name, if there is one."""
    _items.pop(url_name, None)


def links_for(user: Any, current: str | None = None) -> dict[NavGroup, list[NavLink]]:
    """The entries that open for `user` (None: nobody), by group and in order.

    An entry whose URL name leads nowhere is left out: its page is not part of this installation.
    """
    opened: dict[Rule, bool] = {}
    groups: dict[NavGroup, list[NavLink]] = {group: [] for group in NavGroup}
    for item in sorted(_items.values(), key=lambda item: (item.order, item.label)):
        if item.rule not in opened:
            opened[item.rule] = allows(item.rule, user, None)
        url = _url_of(item.url_name) if opened[item.rule] else None
        if url is not None:
            link = NavLink(gettext(item.label), item.icon, url, item.url_name == current)
            groups[item.group].append(link)
    return groups


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `navigation` (links by group), `person` (the signed-in user or None).

    Without a database the page still shows, as for somebody who has not signed in.
    """
    match = getattr(request, "resolver_match", None)
    current = match.view_name if match else None
    user = getattr(request, "user", None)
    try:
        person = user if user is not None and user.is_authenticated else None
        groups = links_for(person, current)
    except (OperationalError, InterfaceError):
        person, groups = None, links_for(None, current)
    return {"navigation": {str(group): links for group, links in groups.items()}, "person": person}


def registered() -> Iterable[NavItem]:
    """All entries, for tests."""
    return tuple(_items.values())


def _url_of(url_name: str) -> str | None:
    try:
        return reverse(url_name)
    except NoReverseMatch:
        return None
