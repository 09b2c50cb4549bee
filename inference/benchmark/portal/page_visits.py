"""What pages cost a person: the time until the overview can be used, the script that a page loads.

A real browser looks; Playwright, which drives it, is among what tests need and not the portal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, Page

OVERVIEW = "/"
# Milliseconds that a busy machine may take.
_PATIENCE = 60_000
# Live figures of both streams stand in the page: the machine's, and those of requests.
_NOTE_USABLE = """
  const figures = ["cpu_usage", "requests_per_second"];
  const stands = (name) => {
    const text = document.querySelector(`[data-figure="${name}"]`)?.textContent;
    return text !== undefined && text !== "\\u2013";
  };
  new MutationObserver((_, observer) => {
    if (!figures.every(stands)) return;
    window.usableAt = performance.now();
    observer.disconnect();
  }).observe(document, { childList: true, characterData: true, subtree: true });
"""
_LINKS = """() => [...document.querySelectorAll("nav a[href^='/'], .dropdown-menu a[href^='/']")]
  .map((link) => link.getAttribute("href"))"""
# The body as it came: a script from the cache has none, so each page is opened without one.
_SCRIPTS = """() => performance.getEntriesByType("resource")
  .filter(({ name }) => /\\.m?js$/.test(new URL(name).pathname))
  .map((entry) => entry.encodedBodySize)"""


@dataclass(frozen=True, slots=True)
class PageScripts:
    """The scripts of a page and their bytes on the wire."""

    path: str
    num_scripts: int
    num_bytes: int


def sign_in(browser: Browser, url: str, username: str, password: str) -> Any:
    """By the page, as people do; what the browser keeps of it."""
    context = browser.new_context()
    fill_sign_in(context.new_page(), url, username, password)
    state = context.storage_state()
    context.close()
    return state


def fill_sign_in(page: Page, url: str, username: str, password: str) -> None:
    """Until the first page stands."""
    page.goto(f"{url}/login/")
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{url}{OVERVIEW}")


def measure_usable(browser: Browser, url: str, state: Any, repeat: int) -> dict[str, list[float]]:
    """Milliseconds from the start of the navigation, with an empty cache and with a full one."""
    cold, warm = [], []
    for _ in range(repeat):
        with _page(browser, state) as page:
            cold.append(_usable_after(page, url))
            warm.append(_usable_after(page, url))
    return {"cold": cold, "warm": warm}


def measure_scripts(browser: Browser, url: str, state: Any) -> list[PageScripts]:
    """Of every page that the menus of the overview lead to, the largest first."""
    with _page(browser, state) as page:
        page.goto(url + OVERVIEW, wait_until="networkidle")
        paths = sorted(set(page.evaluate(_LINKS)))
    found = (scripts_of(browser, url, state, path) for path in paths)
    return sorted(found, key=lambda scripts: -scripts.num_bytes)


def scripts_of(browser: Browser, url: str, state: Any, path: str) -> PageScripts:
    """What the page loads into an empty cache, whenever it loads it."""
    with _page(browser, state) as page:
        page.goto(url + path, wait_until="networkidle")
        sizes = page.evaluate(_SCRIPTS)
    return PageScripts(path, len(sizes), sum(sizes))


@contextmanager
def open_dashboards(browser: Browser, url: str, state: Any, number: int) -> Iterator[None]:
    """So many people look at the overview, each with a browser of their own, and see figures."""
    with ExitStack() as stack:
        for _ in range(number):
            _usable_after(stack.enter_context(_page(browser, state)), url)
        yield


@contextmanager
def _page(browser: Browser, state: Any) -> Iterator[Page]:
    """A page of a browser that has kept nothing but the session."""
    context = browser.new_context(storage_state=state)
    context.set_default_timeout(_PATIENCE)
    context.set_default_navigation_timeout(_PATIENCE)
    context.add_init_script(_NOTE_USABLE)
    yield context.new_page()
    context.close()


def _usable_after(page: Page, url: str) -> float:
    page.goto(url + OVERVIEW)
    return float(page.wait_for_function("() => window.usableAt").json_value())
