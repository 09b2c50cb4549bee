"""System checks of the whole project, run by `manage.py check` and at every start."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
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


_MIN_SECRET_LENGTH = 32
_MIN_SECRET_VARIETY = 8
_KNOWN_SECRETS = ("django-insecure", "changeme", "change-me", "secret", "password", "default")


def check_safe_start(
    app_configs: Sequence[AppConfig] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """llamagpu.E002 to E004: settings under which a server that others reach must not start."""
    if not is_reachable_by_others():
        return []
    problems: list[CheckMessage] = []
    if is_weak_secret(settings.SECRET_KEY):
        problems.append(
            Error(
                "DJANGO_SECRET_KEY is empty, known or easy to guess.",
                hint="Unset it, and a random one is made and kept in the data directory; or set "
                f"{_MIN_SECRET_LENGTH} random characters and more.",
                id="llamagpu.E002",
            )
        )
    if settings.DEBUG:
        problems.append(
            Error(
                "DEBUG is on: error pages would show code and settings.",
                hint="Leave DEBUG off.",
                id="llamagpu.E003",
            )
        )
    if "*" in settings.ALLOWED_HOSTS:
        problems.append(
            Error(
                "DJANGO_ALLOWED_HOSTS allows every host name, so that links in mails can be forged.",
                hint="Name the hosts under which the server may be called, or set LLAMA_PUBLIC_URL.",
                id="llamagpu.E004",
            )
        )
    return problems


def refuse_unsafe_start() -> None:
    """For processes that run no checks of their own. Raises ImproperlyConfigured."""
    problems = check_safe_start()
    if problems:
        raise ImproperlyConfigured(" ".join(f"{item.msg} {item.hint}" for item in problems))


def is_reachable_by_others() -> bool:
    """Whether the server listens beyond this machine, or has a public address."""
    public = urlsplit(settings.LLAMA.public_url).hostname
    return not _is_loopback(settings.LLAMA.host) or bool(public and not _is_loopback(public))


def is_weak_secret(secret: str) -> bool:
    """Whether a signing key is too short, too uniform, or begins as examples do."""
    return (
        len(secret) < _MIN_SECRET_LENGTH
        or len(set(secret)) < _MIN_SECRET_VARIETY
        or secret.lower().startswith(_KNOWN_SECRETS)
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
