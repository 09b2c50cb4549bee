"""What monitoring adds to the navigation. An entry shows once its page exists."""

from __future__ import annotations

from llamagpu.http.navigation import NavGroup, NavItem, register
from llamagpu.http.permissions import READ_AUDIT, READ_MONITORING, READ_SYSTEM


def register_entries() -> None:
    """Called when the app is ready."""
    group = NavGroup.ADMINISTRATION
    register(NavItem("Overview", "grid-1x2", "home", READ_MONITORING, 1))
    register(NavItem("Monitoring", "activity", "monitoring", READ_MONITORING, 40))
    register(NavItem("Alerts", "bell", "alerts", READ_MONITORING, 42))
    register(NavItem("Audit log", "journal-check", "audit", READ_AUDIT, 20, group))
    register(NavItem("Log", "card-text", "logs", READ_SYSTEM, 25, group))
    register(NavItem("Settings", "sliders", "system-config", READ_SYSTEM, 30, group))
