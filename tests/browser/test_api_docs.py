"""The pages of the API: calls are tried where they are described."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.pages import ADMIN, USER
from tests.browser.visitor import Visitor

Visit = Callable[..., Visitor]


def test_a_call_is_tried_and_its_answer_shown(visit: Visit) -> None:
    page = visit(USER, "/api/docs/inference/#infer").page
    form = page.locator("#infer form.try")
    expect(form).to_be_visible()  # a link to a call opens it
    form.get_by_role("button", name="Send").click()
    expect(form.locator("[data-outcome]")).to_have_text(re.compile(r"^200 .*ms · req_\w+$"))
    expect(form.locator("[data-answer]")).to_contain_text('"finish_reason"')


def test_a_stream_is_shown_as_it_comes_and_can_be_stopped(visit: Visit) -> None:
    page = visit(USER, "/api/docs/inference/#stream_infer").page
    form = page.locator("#stream_infer form.try")
    form.get_by_label("Body").fill('{"text": "Count.", "max_tokens": 400, "ignore_eos": true}')
    form.get_by_role("button", name="Send").click()
    expect(form.locator("[data-answer]")).to_contain_text("data: {")
    form.get_by_role("button", name="Stop").click()
    expect(form.locator("[data-outcome]")).to_have_text("Stopped")


def test_a_refusal_is_an_answer_too(visit: Visit) -> None:
    visitor = visit(USER, "/api/docs/inference/#infer")
    form = visitor.page.locator("#infer form.try")
    form.get_by_label("Body").fill('{"text": 5}')
    form.get_by_role("button", name="Send").click()
    expect(form.locator("[data-outcome]")).to_have_text(re.compile("^400 "))
    expect(form.locator("[data-answer]")).to_contain_text("INVALID_INPUT")
    visitor.complaints.clear()  # the browser's own word on the 400


def test_values_of_the_address_are_asked_for_and_encoded(visit: Visit) -> None:
    page = visit(USER, "/api/docs/models/#read_model").page
    form = page.locator("#read_model form.try")
    form.get_by_label("slug").fill("smollm2-135m-instruct")
    form.get_by_role("button", name="Send").click()
    expect(form.locator("[data-answer]")).to_contain_text('"smollm2-135m-instruct"')


def test_what_deletes_asks_before(visit: Visit) -> None:
    visitor = visit(ADMIN, "/api/docs/models/#delete_model")
    page = visitor.page
    form = page.locator("#delete_model form.try")
    form.get_by_label("slug").fill("not there")
    form.get_by_role("button", name="Send").click()
    dialog = page.get_by_role("dialog", name="Send this call?")
    expect(dialog).to_contain_text("DELETE /api/models/not%20there")
    dialog.get_by_role("button", name="Cancel").click()
    expect(form.locator("[data-outcome]")).to_have_text("")
    form.get_by_role("button", name="Send").click()
    dialog.get_by_role("button", name="Send").click()
    expect(form.locator("[data-outcome]")).to_have_text(re.compile("^404 "))
    visitor.complaints.clear()  # the browser's own word on the 404


def test_calls_are_found_by_words(visit: Visit) -> None:
    page = visit(USER, "/api/docs/").page
    page.get_by_role("searchbox").fill("rotate key")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="Rotate key").click()
    expect(page.get_by_role("heading", name="Rotate key")).to_be_in_viewport()
