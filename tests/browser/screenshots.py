"""`make screenshots`: each page in both themes, of a server at work, into docs/screenshots/."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page as BrowserPage
from playwright.sync_api import expect, sync_playwright

from tests.browser.chromium import ARGUMENTS, ChromiumMissingError, provide_chromium
from tests.browser.pages import THEMES
from tests.browser.portal import call, running_stack, sign_in
from tests.e2e.conftest import Stack
from tests.environment import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "docs" / "screenshots"
WINDOW = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
# By the name of the picture. Signed in as an admin but for the first two.
PUBLIC = {"welcome": "/", "sign-in": "/login/"}
PAGES = {
    "overview": "/",
    "playground": "/playground",
    "models": "/models",
    "model": "/models/smollm2-135m-instruct",
    "plugins": "/plugins",
    "plugin": "/plugins/pii_redactor",
    "jobs": "/jobs",
    "job": "/jobs",
    "keys": "/keys",
    "usage": "/usage",
    "monitoring": "/monitoring",
    "alerts": "/alerts",
    "alert-rules": "/alerts?tab=rules",
    "users": "/users",
    "roles": "/roles",
    "limits": "/limits",
    "settings": "/settings",
    "audit": "/audit",
    "log": "/logs",
    "api": "/api/docs/",
    "api-group": "/api/docs/inference/",
    "account": "/account/",
}
# Those that are shown on a phone too.
ON_PHONE = {"overview", "playground", "models", "jobs", "roles", "log"}
QUESTIONS = (
    "What is the capital of France?",
    "List three facts about the Moon.",
    "Explain what a hash table is.",
    "Write a haiku about rain.",
)
COLOURS = 256


def fill(stack: Stack) -> None:
    """Some people, keys, and a plugin at work."""
    for name, role in (("ada", "operator"), ("grace", "user"), ("linus", "guest")):
        body = {"username": name, "password": "correct-horse-battery-2", "role": role}
        call(stack, "POST", "users", body)
    for name in ("notebook", "nightly report"):
        call(stack, "POST", "keys", {"name": name})
    call(stack, "POST", "plugins/pii_redactor/load")


@contextmanager
def traffic(stack: Stack) -> Iterator[None]:
    """Callers who ask one thing after another."""
    over = threading.Event()

    def ask(question: str) -> None:
        while not over.is_set():
            stack.infer({"text": question, "max_tokens": 60})

    callers = [threading.Thread(target=ask, args=(question,)) for question in QUESTIONS]
    for caller in callers:
        caller.start()
    yield
    over.set()
    for caller in callers:
        caller.join()


def chat(page: BrowserPage) -> None:
    page.get_by_label("Your message").fill("List three facts about the Moon.")
    page.get_by_label("Your message").press("Enter")
    expect(page.get_by_role("article")).to_have_attribute("aria-busy", "false", timeout=240_000)


def await_charts(page: BrowserPage) -> None:
    """Until the live charts have something to show."""
    page.get_by_label("Dismiss the first steps").click()
    page.wait_for_function(
        "() => Chart.getChart(document.querySelector('[data-chart=traffic]'))"
        ".data.datasets[0].data.length > 20",
        timeout=180_000,
    )


def open_job(page: BrowserPage) -> None:
    page.locator("tr", has_text="succeeded").get_by_role("link").first.click()
    expect(page.locator("#job")).to_be_visible()


PREPARE = {"overview": await_charts, "playground": chat, "job": open_job}


def take(page: BrowserPage, name: str) -> None:
    for theme in THEMES:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.wait_for_function(
            "theme => document.documentElement.dataset.bsTheme === theme", arg=theme
        )
        save(page.screenshot(animations="disabled"), FOLDER / f"{name}-{theme}.png")


def save(picture: bytes, path: Path) -> None:
    """With few colours: a page has no more, and the file is a third of the size."""
    drawn = Image.open(io.BytesIO(picture)).convert("RGB")
    reduced = drawn.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, 1, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with running_stack() as stack, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=provide_chromium(), args=ARGUMENTS)
        fill(stack)
        strangers = browser.new_context(viewport=WINDOW)  # type: ignore[arg-type]
        state = sign_in(stack, browser, "admin")
        people = browser.new_context(storage_state=state, viewport=WINDOW)  # type: ignore[arg-type]
        with traffic(stack):
            for context, pages in ((strangers, PUBLIC), (people, PAGES)):
                for name, path in pages.items():
                    page = context.new_page()
                    page.goto(stack.url + path, wait_until="networkidle")
                    PREPARE.get(name, lambda page: None)(page)
                    take(page, name)
                    if name in ON_PHONE:
                        page.set_viewport_size(PHONE)  # type: ignore[arg-type]
                        take(page, f"{name}-phone")
                    page.close()
        browser.close()


if __name__ == "__main__":
    try:
        main()
    except ChromiumMissingError as error:
        sys.exit(str(error))
