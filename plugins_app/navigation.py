"""What plugins add to the navigation."""

from __future__ import annotations

from llamagpu.http.navigation import NavItem, register
from llamagpu.http.permissions import READ_PLUGINS


def register_entries() -> None:
    """Called when the app is ready."""
    register(NavItem("Plugins", "puzzle", "plugins-page", READ_PLUGINS, 10))
