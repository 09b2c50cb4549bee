"""Chats: an answer as it comes, one that is stopped, one that was kept, and markup in any of them."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.pages import ADMIN, USER
from tests.browser.portal import HOSTILE, HOSTILE_ELEMENT, call
from tests.browser.visitor import Visitor
from tests.e2e.conftest import Stack, wait_until

Visit = Callable[..., Visitor]


def set_parameters(page: Page, **values: str) -> None:
    """Fill in fields of the parameters, by their labels' names in the form."""
    page.get_by_role("button", name="Parameters").click()
    for name, value in values.items():
        page.locator(f"#parameter-{name}").fill(value)
    page.get_by_role("dialog", name="Parameters").get_by_label("Close").click()


def test_a_stopped_answer_is_no_longer_computed(visit: Visit, stack: Stack) -> None:
    page = visit(ADMIN, "/playground").page
    set_parameters(page, max_tokens="4000")
    page.get_by_label("Your message").fill("Count from one to ten thousand, in words.")
    page.get_by_role("button", name="Send").click()
    answer = page.get_by_role("article")
    expect(answer.locator(".answer-body")).not_to_be_empty()
    expect(answer).to_have_attribute("aria-busy", "true")
    page.get_by_role("button", name="Stop").click()
    expect(answer).to_contain_text("stopped")
    expect(page.get_by_role("button", name="Send")).to_be_visible()

    def newest() -> str:
        return str(call(stack, "GET", "jobs?limit=1")["results"][0]["state"])

    wait_until(lambda: newest() == "cancelled", "the job is cancelled")
    wait_until(
        lambda: call(stack, "GET", "system/status")["queue"]["engine_running"] == 0, "it ended"
    )


def test_an_answer_is_kept_and_found_again(visit: Visit) -> None:
    page = visit(USER, "/playground").page
    set_parameters(page, temperature="0", max_tokens="40")
    page.get_by_label("Your message").fill("What is the capital of France?")
    page.get_by_label("Your message").press("Enter")
    answer = page.get_by_role("article")
    expect(answer).to_have_attribute("aria-busy", "false")
    expect(answer).to_contain_text("Paris")
    page.reload()
    page.get_by_role("button", name="History").click()
    page.get_by_role("button", name="What is the capital").first.click()
    expect(page.get_by_role("article")).to_contain_text("Paris")


def test_two_models_answer_side_by_side(visit: Visit) -> None:
    page = visit(USER, "/playground").page
    set_parameters(page, max_tokens="16")
    page.get_by_role("button", name="Compare").click()
    page.get_by_label("Your message").fill("Say hello.")
    page.get_by_label("Your message").press("Enter")
    expect(page.get_by_role("article")).to_have_count(2)
    for answer in page.get_by_role("article").all():
        expect(answer).to_have_attribute("aria-busy", "false")


def test_markup_in_a_conversation_is_text(visit: Visit, hostile_rows: str) -> None:
    page = visit(ADMIN, f"/playground#{hostile_rows}").page
    expect(page.locator(".turn-user")).to_have_text(HOSTILE)
    expect(page.get_by_role("article")).to_contain_text(HOSTILE)
    page.get_by_role("button", name="History").click()
    expect(page.get_by_role("dialog", name="Conversations")).to_contain_text(HOSTILE)
    assert page.locator(HOSTILE_ELEMENT).count() == 0
