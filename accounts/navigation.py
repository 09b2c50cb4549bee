"""What accounts adds to the navigation. An entry shows once its page exists."""

from __future__ import annotations

from llamagpu.http.navigation import NavGroup, NavItem, register
from llamagpu.http.permissions import READ_SYSTEM, SignedIn


def register_entries() -> None:
    """Called when the app is ready."""
    mine = SignedIn()
    register(NavItem("API keys", "key", "keys", mine, 20))
    register(NavItem("Usage", "bar-chart-line", "usage", mine, 30))
    register(NavItem("Users", "people", "users", READ_SYSTEM, 5, NavGroup.ADMINISTRATION))
    register(NavItem("Limits", "speedometer", "limits", READ_SYSTEM, 15, NavGroup.ADMINISTRATION))
    register(NavItem("Roles", "person-badge", "roles", READ_SYSTEM, 10, NavGroup.ADMINISTRATION))
    register(NavItem("Admin", "gear", "admin:index", READ_SYSTEM, 90, NavGroup.ADMINISTRATION))
    register(NavItem("Profile", "person", "account", mine, 10, NavGroup.ACCOUNT))
    register(NavItem("Password", "lock", "password-change", mine, 20, NavGroup.ACCOUNT))
    register(NavItem("Second factor", "phone", "second-factor", mine, 30, NavGroup.ACCOUNT))
