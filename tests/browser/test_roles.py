"""A role that changes counts in the pages that are open."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.pages import ADMIN
from tests.browser.portal import People, call
from tests.browser.visitor import Visitor
from tests.e2e.conftest import Stack

Visit = Callable[..., Visitor]


def give_role(page: Page, username: str, role: str) -> None:
    """As an admin does it, on the page of users."""
    page.get_by_label(f"Change {username}").click()
    dialog = page.get_by_role("dialog", name="Change")
    dialog.get_by_label("Role").select_option(role)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()


def test_an_open_page_feels_the_new_role(visit: Visit, people: People, stack: Stack) -> None:
    people.make("climber", "user")
    rights = {"inference": "RW", "models": "R"}
    call(stack, "POST", "roles", {"slug": "blind", "name": "Blind", "rights": rights})
    overview = visit("climber", "/")
    playground = visit("climber", "/playground")
    expect(overview.page.locator("[data-figure=cpu_usage]")).to_contain_text("%")
    admin = visit(ADMIN, "/users").page

    give_role(admin, "climber", "blind")
    live = overview.page.locator("#live-state")
    expect(live).to_have_text("Your role no longer shows live data")

    give_role(admin, "climber", "guest")
    playground.page.get_by_label("Your message").fill("May I?")
    playground.page.get_by_label("Your message").press("Enter")
    expect(playground.page.get_by_role("article").get_by_role("alert")).to_be_visible()
    playground.open("/")
    expect(playground.page.get_by_role("link", name="Playground")).to_have_count(0)
    for visitor in (playground, overview):
        visitor.complaints.clear()  # the browser notes what was refused
    call(stack, "DELETE", f"users/{call(stack, 'GET', 'users?q=climber')['results'][0]['id']}")
    call(stack, "DELETE", "roles/blind")
