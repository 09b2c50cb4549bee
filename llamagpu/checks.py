"""System checks of the whole project, run by `manage.py check` and at every start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error
from django.urls import get_resolver

from llamagpu.http.endpoints import is_declared, walk_views


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
