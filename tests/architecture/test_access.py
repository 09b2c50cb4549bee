"""Deny by default: a URL that declares no rule fails the system check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import get_resolver, path
from rest_framework.views import APIView

from llamagpu.checks import check_declared_access
from llamagpu.http.endpoints import is_declared, walk_views
from llamagpu.http.permissions import INFER, Public, SignedIn, allows, declare_access, rule_for

ROOT = Path(__file__).resolve().parents[2]


def undeclared(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@declare_access(Public("a test"))
def declared(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


class UndeclaredView(APIView):
    def get(self, request: Any) -> None: ...


class HalfDeclaredView(APIView):
    access = {"GET": INFER, "POST": None}


def test_every_url_declares_its_rule() -> None:
    assert check_declared_access(None) == []
    assert len(list(walk_views(get_resolver().url_patterns))) > 10


def test_a_url_without_a_rule_fails_the_check(settings: Any) -> None:
    urls = ModuleType("urls_for_the_check")
    urls.urlpatterns = [  # type: ignore[attr-defined]
        path("open", declared),
        path("closed", undeclared),
        path("rest", UndeclaredView.as_view()),
    ]
    sys.modules["urls_for_the_check"] = urls
    settings.ROOT_URLCONF = "urls_for_the_check"
    errors = check_declared_access(None)
    assert [error.id for error in errors] == ["llamagpu.E001"] * 2
    assert "/closed" in errors[0].msg
    assert "/rest" in errors[1].msg


def test_a_half_declared_view_is_not_declared() -> None:
    assert not is_declared(HalfDeclaredView)


def test_what_is_not_declared_is_denied_even_so(admin: Any) -> None:
    assert not allows(rule_for(UndeclaredView, "GET"), admin.user, None)
    assert not allows(rule_for(HalfDeclaredView, "DELETE"), admin.user, None)


def test_signed_in_means_signed_in(member: Any) -> None:
    from django.contrib.auth.models import AnonymousUser

    assert allows(SignedIn(), member.user, None)
    assert not allows(SignedIn(), AnonymousUser(), None)


@pytest.mark.parametrize("arguments", [["check"], ["makemigrations", "--check", "--dry-run"]])
def test_the_project_checks_are_clean(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
