from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.test import RequestFactory

from llamagpu.http.errors import AppError
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import READ_SYSTEM, SignedIn, declare_access
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import Caller


class Page(PageView):
    access = {"GET": SignedIn(), "POST": READ_SYSTEM}

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("read")

    def post(self, request: HttpRequest) -> HttpResponse:
        raise AppError(ErrorCode.CONFLICT, "Not now.", retry_after=7)


class Undeclared(PageView):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("open")


@declare_access(READ_SYSTEM)
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("read")


def call(view: type[PageView], method: str, user: object) -> HttpResponseBase:
    request = RequestFactory().generic(method, "/page?x=1", headers={"Accept": "text/html"})
    request.user = user  # type: ignore[assignment]
    request.request_id = "req_1"  # type: ignore[attr-defined]
    return view.as_view()(request)


def test_a_stranger_is_sent_to_sign_in_and_back() -> None:
    answer = call(Page, "GET", AnonymousUser())
    assert answer.headers["Location"] == "/login/?next=%2Fpage%3Fx%3D1"
    assert call(Page, "POST", AnonymousUser()).headers["Location"] == "/login/"


def test_each_method_has_its_own_rule(member: Caller, operator: Caller) -> None:
    assert call(Page, "GET", member.user).status_code == 200
    with pytest.raises(PermissionDenied):
        call(Page, "POST", member.user)


def test_an_error_of_a_service_becomes_a_page(operator: Caller) -> None:
    answer = call(Page, "POST", operator.user)
    assert answer.status_code == 409
    assert answer.headers["Retry-After"] == "7"
    assert b"Not now." in answer.content  # type: ignore[attr-defined]


def test_a_page_that_declares_nothing_is_closed(admin: Caller) -> None:
    with pytest.raises(PermissionDenied):
        call(Undeclared, "GET", admin.user)


def test_a_function_is_guarded_by_its_declaration(admin: Caller, member: Caller) -> None:
    request = RequestFactory().get("/page")
    request.user = AnonymousUser()
    assert page(request).headers["Location"] == "/login/?next=%2Fpage"
    request.user = member.user
    with pytest.raises(PermissionDenied):
        page(request)
    request.user = admin.user
    assert page(request).content == b"read"
