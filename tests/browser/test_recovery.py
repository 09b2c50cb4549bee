"""What dies while a page is open is told there, and so is its return."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
from playwright.sync_api import expect

from tests.browser.pages import ADMIN
from tests.browser.visitor import Visitor
from tests.e2e.conftest import Stack, wait_until

Visit = Callable[..., Visitor]


def test_a_worker_that_is_killed_is_missed_and_comes_back(visit: Visit, stack: Stack) -> None:
    page = visit(ADMIN, "/").page
    expect(page.locator("#health .state")).to_have_text("ready")
    killed = stack.worker_pid()
    os.kill(killed, signal.SIGKILL)
    expect(page.locator("#health .state")).to_have_text("not ready")
    expect(page.locator("#health li").first).to_be_visible()
    wait_until(lambda: stack.probe() == 200, "it is ready again", 180)
    expect(page.locator("#health .state")).to_have_text("ready")
    assert stack.worker_pid() != killed
    expect(page.locator("#events")).to_contain_text("is ready")


def test_a_web_server_that_dies_is_told_and_the_page_goes_on(visit: Visit, stack: Stack) -> None:
    visitor = visit(ADMIN, "/")
    live = visitor.page.locator("#live-state")
    expect(visitor.page.locator("[data-figure=cpu_usage]")).to_contain_text("%")
    os.kill(web_pid(stack), signal.SIGKILL)
    expect(live).to_have_text("Disconnected, retrying")
    expect(live).to_be_hidden()
    visitor.complaints.clear()  # of the time without a server
    # A figure that comes anew shows that the streams do.
    visitor.page.evaluate("document.querySelector('[data-figure=cpu_usage]').textContent = ''")
    expect(visitor.page.locator("[data-figure=cpu_usage]")).to_contain_text("%")


def web_pid(stack: Stack) -> int:
    family = psutil.Process(stack.process.pid).children(recursive=True)
    (found,) = [child.pid for child in family if "llamagpu.web_server" in child.cmdline()]
    return found
