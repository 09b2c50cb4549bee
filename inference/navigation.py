"""What inference adds to the navigation. An entry shows once its page exists."""

from __future__ import annotations

from llamagpu.http.navigation import NavItem, register
from llamagpu.http.permissions import INFER, READ_JOBS, READ_MODELS


def register_entries() -> None:
    """Called when the app is ready."""
    register(NavItem("Playground", "chat-dots", "playground", INFER, 5))
    register(NavItem("Models", "cpu", "models-page", READ_MODELS, 8))
    register(NavItem("Jobs", "list-check", "jobs-page", READ_JOBS, 12))
