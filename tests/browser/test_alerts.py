"""The page of alerts in a browser: rules, silences and channels made by hand, an alert that comes live."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.pages import ADMIN, THEMES
from tests.browser.portal import HOSTILE, HOSTILE_ELEMENT, call
from tests.browser.visitor import Visitor
from tests.e2e.conftest import Stack

Visit = Callable[..., Visitor]


def test_a_rule_that_is_made_fires_before_ones_eyes(visit: Visit, stack: Stack) -> None:
    watching, visitor = visit(ADMIN, "/alerts").page, visit(ADMIN, "/alerts?tab=rules")
    page = visitor.page
    page.get_by_role("button", name="New rule").click()
    dialog = page.get_by_role("dialog", name="New rule")
    dialog.get_by_label("Name").fill(HOSTILE)
    dialog.get_by_label("Watches").fill("workers")
    expect(dialog.get_by_text("Workers that serve.")).to_be_visible()
    dialog.get_by_label("Is", exact=True).select_option(">=")
    dialog.get_by_label("Threshold").fill("many")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("threshold")
    visitor.complaints.clear()  # the browser notes the status itself
    dialog.get_by_label("Threshold").fill("1")
    dialog.get_by_label("For seconds").fill("0")
    for theme in THEMES:
        visitor.set_theme(theme)
        assert visitor.barriers() == []
    dialog.get_by_role("button", name="Save").click()
    row = page.get_by_role("row").filter(has_text=HOSTILE)
    expect(row).to_contain_text("workers >= 1")
    # It was never seen well, so it waits for a minute.
    line = watching.get_by_role("article").filter(has_text=HOSTILE)
    expect(line).to_be_visible(timeout=90_000)
    assert watching.locator(HOSTILE_ELEMENT).count() == 0
    line.get_by_role("button", name="Acknowledge").click()
    expect(line).to_contain_text("admin sees to it")
    row.get_by_role("button", name="Edit").click()
    dialog = page.get_by_role("dialog", name="Change the rule")
    dialog.get_by_label("Threshold").fill("100")
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("workers >= 100")
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    expect(line).to_have_count(0)


def test_a_silence_is_made_and_ended(visit: Visit) -> None:
    page = visit(ADMIN, "/alerts?tab=silences").page
    page.get_by_role("button", name="Silence").click()
    dialog = page.get_by_role("dialog", name="Silence")
    dialog.get_by_label("Rule").select_option("A GPU is hot")
    dialog.get_by_label("Labels").fill("node=gpu-1, gpu=0")
    dialog.get_by_label("Why").fill("new fans")
    dialog.get_by_role("button", name="Silence").click()
    row = page.get_by_role("row").filter(has_text="new fans")
    expect(row).to_contain_text("node gpu-1, gpu 0")
    row.get_by_role("button", name="End now").click()
    expect(row).to_contain_text("over")


def test_the_secret_of_a_webhook_is_shown_once(visit: Visit, stack: Stack) -> None:
    page = visit(ADMIN, "/alerts?tab=channels").page
    page.get_by_role("button", name="New channel").click()
    dialog = page.get_by_role("dialog", name="New channel")
    dialog.get_by_label("Name").fill("pager")
    dialog.get_by_label("Kind").select_option("webhook")
    expect(dialog.get_by_label("Mail addresses")).to_be_hidden()
    dialog.get_by_role("textbox", name="Address").fill("https://hooks.invalid/secret-path")
    dialog.get_by_role("button", name="Save").click()
    shown = page.get_by_role("dialog", name="The secret of this webhook")
    expect(shown.locator("code")).to_have_text(re.compile(r"[\w-]{40,}"))
    shown.get_by_role("button", name="Done").click()
    row = page.get_by_role("row").filter(has_text="pager").first
    expect(row).to_contain_text("https://hooks.invalid")
    assert "secret-path" not in page.content()
    row.get_by_role("button", name="Test").click()
    expect(page.get_by_text("A test is on its way.")).to_be_visible()
    channel = call(stack, "GET", "alerts/channels")["results"][0]["id"]
    call(stack, "DELETE", f"alerts/channels/{channel}")
