"""The first minutes of somebody new: the guide, the playground, a key, a call with it."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.portal import People
from tests.browser.visitor import Visitor


def test_the_guide_sees_each_step_being_done(visit: Callable[..., Visitor], people: People) -> None:
    newcomer = f"newcomer-{secrets.token_hex(3)}"
    people.make(newcomer, "user")
    overview = visit(newcomer, "/").page
    guide = overview.get_by_role("region", name="First steps")
    expect(guide).to_be_visible()
    expect(guide.locator("li.done")).to_have_count(0)

    playground = visit(newcomer, "/playground").page
    playground.get_by_label("Your message").fill("What is the capital of France?")
    playground.get_by_label("Your message").press("Enter")
    expect(playground.get_by_role("article")).to_contain_text("tokens/s")
    expect(guide.locator("li.done")).to_have_count(1)

    keys = visit(newcomer, "/keys").page
    keys.get_by_role("button", name="New key").click()
    keys.get_by_label("Name").fill("first")
    keys.get_by_role("button", name="Make the key").click()
    shown = keys.get_by_role("region", name="Your key")
    expect(shown).to_contain_text("Copy it now")
    command = shown.locator("#new-key-call").inner_text()
    assert shown.locator("#new-key-text").inner_text() in command
    expect(guide.locator("li.done")).to_have_count(2)

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["success"] is True
    expect(guide.locator("li.done")).to_have_count(3)

    keys.reload()
    expect(keys.locator("#new-key-text")).to_have_count(0)
    overview.get_by_role("button", name="Dismiss the first steps").click()
    overview.reload()
    expect(overview.get_by_role("heading", name="Overview")).to_be_visible()
    expect(guide).to_be_hidden()
