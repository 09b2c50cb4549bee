"""Django admin: every table of ours has its page, and every page obeys the roles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from llamagpu.http.model_admin import PortalModelAdmin, ReadOnlyModelAdmin
from tests.conftest import Caller

OURS = {"accounts", "monitoring", "inference", "plugins_app"}
# Tables that only serve another one's page.
WITHOUT_PAGE = {
    "audithead",
    "auditverification",
    "batchitem",
    "batchline",
    "conversation",
    "idempotentcall",
    "jobattempt",
    "linejob",
    "plugingeneration",
    "storedresponse",
}
# What nobody but the owner of a job reads.
SECRET_FIELDS = {
    "prompt",
    "output",
    "params",
    "digest",
    "password",
    "key",
    "sealed_key",
    "sealed_url",
}


def pages() -> Iterator[tuple[Any, Any]]:
    yield from admin.site._registry.items()


def browser_of(caller: Caller) -> Client:
    browser = Client()
    browser.force_login(caller.user)
    return browser


def address(model: Any, page: str, *arguments: Any) -> str:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"
    return reverse(name, args=arguments)


def test_every_table_of_ours_has_its_page() -> None:
    tables = {
        model._meta.model_name
        for model in apps.get_models()
        if model._meta.app_label in OURS and model not in admin.site._registry
    }
    assert tables - WITHOUT_PAGE == set()


@pytest.mark.parametrize(
    "page", [page for _, page in pages()], ids=lambda page: str(page.opts.label)
)
def test_each_page_searches_is_audited_and_shows_no_secret(page: Any) -> None:
    assert isinstance(page, PortalModelAdmin), "others write rows without an audit row"
    assert page.search_fields
    shown = {*page.list_display, *(page.fields or ()), *page.readonly_fields}
    for _, options in page.fieldsets or ():
        shown |= set(options["fields"])
    assert shown & SECRET_FIELDS == set()
    if not isinstance(page, ReadOnlyModelAdmin):
        # It writes by services: Django's own way of saving is replaced.
        assert type(page).save_model is not PortalModelAdmin.save_model


def test_no_filter_spells_out_what_a_page_hides(operator: Caller, redis_client: Any) -> None:
    browser = browser_of(operator)
    hidden = [
        (model_class, field.name)
        for model_class, page in pages()
        for field in model_class._meta.concrete_fields
        if field.name in SECRET_FIELDS
    ]
    assert {name for _, name in hidden} == SECRET_FIELDS
    for model_class, field in hidden:
        for lookup in (field, f"{field}__startswith", f"{field}__contains"):
            answer = browser.get(address(model_class, "changelist"), {lookup: "a"})
            assert answer.status_code == 400, (model_class, lookup)
    for lookup in ("user__password__startswith", "owner__password__startswith"):
        for table in ("accounts_apikey", "inference_inferencejob", "otp_totp_totpdevice"):
            answer = browser.get(reverse(f"admin:{table}_changelist"), {lookup: "a"})
            assert answer.status_code == 400 or answer.headers["Location"].endswith("?e=1")


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["admin", "operator"])
def test_each_list_and_form_opens_for_who_may_look(
    role: str, request: pytest.FixtureRequest, redis_client: Any, model: Any
) -> None:
    caller = request.getfixturevalue(role)
    browser = browser_of(caller)
    assert browser.get(reverse("admin:index")).status_code == 200
    for model_class, page in pages():
        listed = browser.get(address(model_class, "changelist"), {"q": "the"})
        assert listed.status_code == 200, model_class
        added = browser.get(address(model_class, "add"))
        right = f"{model_class._meta.app_label}.add_{model_class._meta.model_name}"
        may_add = caller.user.has_perm(right) and not isinstance(page, ReadOnlyModelAdmin)
        assert added.status_code in ((200, 403) if may_add else (403,)), model_class
        row = page.get_queryset(request_of(caller)).first()
        if row is not None:
            shown = browser.get(address(model_class, "change", row.pk))
            assert shown.status_code == 200, model_class
            right = f"{model_class._meta.app_label}.change_{model_class._meta.model_name}"
            if not caller.user.has_perm(right):
                assert 'name="_save"' not in shown.content.decode(), model_class


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["member", "guest"])
def test_no_page_opens_for_members_and_guests(role: str, request: pytest.FixtureRequest) -> None:
    browser = browser_of(request.getfixturevalue(role))
    for model_class, _ in pages():
        for page in ("changelist", "add"):
            answer = browser.get(address(model_class, page))
            assert answer.status_code == 302
            assert answer.headers["Location"].startswith(reverse("admin:login"))
    assert browser.get(reverse("admin:login")).status_code == 403


def request_of(caller: Caller) -> Any:
    class Request:
        user = caller.user
        GET: dict[str, str] = {}

    return Request()
