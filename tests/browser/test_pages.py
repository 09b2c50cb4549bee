"""Every page as every role: it opens or is refused, nothing goes wrong in it, it fits every window."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.urls import get_resolver
from playwright.sync_api import expect

from llamagpu.http.endpoints import methods_of, walk_views
from tests.browser.pages import (
    ADMIN,
    CALLERS,
    DETAILS,
    NOT_WALKED,
    PAGES,
    PUBLIC_PAGES,
    SIGNED_IN,
    STRANGER,
    THEMES,
    USER,
    WIDTHS,
    WITH_MARKUP,
    Page,
    pages_for,
)
from tests.browser.portal import HOSTILE, HOSTILE_ELEMENT, SHARED_HOSTILE, People
from tests.browser.visitor import Visitor

Visit = Callable[..., Visitor]


def test_every_page_is_walked() -> None:
    found = {
        route
        for route, view in walk_views(get_resolver().url_patterns)
        if "<" not in route and "GET" in methods_of(view)
        if not route.startswith(("api/", "v1/")) or route == "api/docs/"
    }
    assert found == {page.path[1:] for page in (*PAGES, *PUBLIC_PAGES)} | set(NOT_WALKED)


@pytest.mark.parametrize("caller", CALLERS)
def test_what_may_not_be_seen_is_refused(caller: str, people: People) -> None:
    context = people.context(caller)
    wrong = {}
    for page in PAGES:
        answer = context.request.get(people.stack.url + page.path, max_redirects=0)
        expected = 200 if caller in page.opens_for else 302 if caller == STRANGER else 403
        if page.path == "/":
            expected = 200
        if answer.status != expected:
            wrong[page.path] = answer.status
    context.close()
    assert wrong == {}


@pytest.mark.parametrize("caller", SIGNED_IN)
def test_the_menus_offer_what_opens_and_nothing_else(caller: str, visit: Visit) -> None:
    page = visit(caller, "/").page
    offered = set(
        page.eval_on_selector_all(
            ".sidebar a, .topbar .dropdown-menu a",
            "links => links.map(link => link.getAttribute('href'))",
        )
    ) - {"/admin/"}
    assert offered == {page.path for page in pages_for(caller)}


@pytest.mark.parametrize(
    ("caller", "page"),
    [
        pytest.param(caller, page, id=f"{caller} {page.path}")
        for caller in CALLERS
        for page in pages_for(caller)
    ],
)
@pytest.mark.usefixtures("hostile_rows")
def test_a_page(caller: str, page: Page, visit: Visit) -> None:
    visitor = visit(caller, page.path)
    assert visitor.page.title().removesuffix(" · LLaMA GPU") == page.title
    assert visitor.page.locator("h1").count() == 1
    assert visitor.page.locator(HOSTILE_ELEMENT).count() == 0
    wide = {width: found for width in WIDTHS if (found := visitor.overflowing(width))}
    assert not wide, wide
    if caller in (ADMIN, STRANGER):  # the others see parts of the same
        assert visitor.focus_problems() == []
        check_barriers(visitor)


@pytest.mark.parametrize("caller", SIGNED_IN)
@pytest.mark.usefixtures("hostile_rows")
def test_markup_in_a_list_is_words(caller: str, visit: Visit) -> None:
    visitor = visit(caller)
    for page in WITH_MARKUP:
        if caller in page.opens_for:
            assert visitor.open(page.path) == 200, page.path
            words = visitor.page.locator("main").text_content() or ""
            assert HOSTILE in words or SHARED_HOSTILE in words, page.path
            assert visitor.page.locator(HOSTILE_ELEMENT).count() == 0, page.path


@pytest.mark.parametrize("page", DETAILS, ids=lambda page: page.path)
def test_a_page_of_one_thing(page: Page, visit: Visit, finished_job: str) -> None:
    visitor = visit(ADMIN, page.path.format(job=finished_job))
    assert visitor.page.title().removesuffix(" · LLaMA GPU") == page.title
    assert visitor.page.locator(HOSTILE_ELEMENT).count() == 0
    wide = {width: found for width in WIDTHS if (found := visitor.overflowing(width))}
    assert not wide, wide
    assert visitor.focus_problems() == []
    check_barriers(visitor)


@pytest.mark.parametrize(("path", "status"), [("/no-such-page", 404), ("/users", 403)])
def test_a_page_that_is_refused(path: str, status: int, visit: Visit) -> None:
    visitor = visit(USER)
    assert visitor.open(path) == status
    visitor.complaints.clear()  # the browser notes the status itself
    assert visitor.page.get_by_role("heading", level=1).is_visible()
    assert {width: found for width in WIDTHS if (found := visitor.overflowing(width))} == {}
    check_barriers(visitor)


def test_the_language_is_chosen_in_the_account_menu(visit: Visit) -> None:
    visitor = visit(USER, "/keys")
    page = visitor.page
    page.locator(".account-toggle").click()
    page.get_by_role("button", name="Deutsch").click()
    expect(page.get_by_role("heading", name="API-Schlüssel", level=1)).to_be_visible()
    page.get_by_role("link", name="Übersicht").click()
    # What scripts say, with their numbers.
    expect(page.locator("[data-figure=memory_used]")).to_have_text(
        re.compile(r"^\d+,?\d* GiB von ")
    )
    expect(page.locator("[data-figure=cpu_usage]")).to_contain_text("%")
    wide = {width: found for width in WIDTHS if (found := visitor.overflowing(width))}
    assert not wide, wide
    check_barriers(visitor)


def test_without_the_server_a_page_says_so_and_comes_back(visit: Visit) -> None:
    visitor = visit(USER, "/keys")
    page = visitor.page
    page.evaluate("navigator.serviceWorker.ready")
    visitor.context.set_offline(True)
    page.goto(f"{visitor.url}/usage")
    expect(page.get_by_role("heading", name="cannot be reached")).to_be_visible()
    visitor.context.set_offline(False)
    expect(page.get_by_role("heading", name="Usage", level=1)).to_be_visible()
    visitor.complaints.clear()  # of the time without a server


def check_barriers(visitor: Visitor) -> None:
    for theme in THEMES:
        visitor.set_theme(theme)
        found = visitor.barriers()
        assert not found, "\n".join([theme, *found])
