"""A model is pulled, given up, pulled again, loaded and unloaded from the page."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.pages import OPERATOR
from tests.browser.visitor import Visitor
from tests.inference.pulling.hub_server import Hub

HALF = re.compile(r"^[45]\d$")  # what the hub has sent by then, as far as it fills blocks


def test_a_model_comes_and_goes(visit: Callable[..., Visitor], hub: Hub) -> None:
    page = visit(OPERATOR, "/models").page
    hub.hold = threading.Event()
    hub.cut_after = len(hub.files["model.safetensors"]) // 2
    page.get_by_role("button", name="Add a model").click()
    dialog = page.get_by_role("dialog", name="Add a model")
    dialog.get_by_label("From").select_option("hub")
    dialog.get_by_label("Source").fill("org/tiny")
    dialog.get_by_label("Name here").fill("tiny")
    dialog.get_by_role("button", name="Add").click()

    card = page.locator("article[data-model=tiny]")
    card.get_by_role("button", name="Pull").click()
    expect(card.locator(".state")).to_have_text("downloading")
    expect(card).to_contain_text(" of ")
    expect(card.get_by_role("progressbar")).to_have_attribute("value", HALF)
    card.get_by_role("button", name="Cancel").click()
    expect(card.get_by_role("button", name="Pull")).to_be_visible()
    hub.hold.set()

    hub.cut_after = None
    card.get_by_role("button", name="Pull").click()
    card.get_by_role("button", name="Load").click()
    page.get_by_role("dialog", name="Load").get_by_role("button", name="Load").click()
    expect(card.locator(".state")).to_have_text("ready")
    card.get_by_role("button", name="Unload").click()
    expect(card.get_by_role("button", name="Load")).to_be_visible()
    card.get_by_label("More for tiny").click()
    card.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog", name="Delete").get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)
