"""A plugin is loaded, set, tried and unloaded from its page."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.pages import GUEST, OPERATOR
from tests.browser.portal import HOSTILE, HOSTILE_ELEMENT
from tests.browser.visitor import Visitor

Visit = Callable[..., Visitor]


def test_a_plugin_is_set_and_tried(visit: Visit) -> None:
    page = visit(OPERATOR, "/plugins/pii_redactor").page
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.get_by_role("button", name="Unload")).to_be_visible()  # the page came anew
    expect(page.locator("#state .state").first).to_have_text("active")

    settings = page.get_by_role("region", name="Settings", exact=True)
    settings.get_by_label("placeholder").fill("<{kind} withheld>")
    settings.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The settings hold from the next request on.")).to_be_visible()

    page.get_by_label("Sample").fill(f"Write to jane@example.org {HOSTILE}")
    page.get_by_role("button", name="Try").click()
    result = page.locator("#try-result")
    expect(result).to_contain_text("answered (")
    expect(result).to_contain_text("withheld>")
    expect(result).to_contain_text(HOSTILE)
    expect(result).not_to_contain_text("jane@example.org")
    assert page.locator(HOSTILE_ELEMENT).count() == 0

    page.get_by_role("button", name="Unload").click()
    expect(page.get_by_role("button", name="Load", exact=True)).to_be_visible()


def test_who_may_only_read_is_offered_nothing_else(visit: Visit) -> None:
    page = visit(GUEST, "/plugins/pii_redactor").page
    expect(page.get_by_role("heading", level=1)).to_contain_text("PII redactor")
    expect(page.locator("main button")).to_have_count(0)
