"""A browser's page that notes what goes wrong in it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, TimeoutError

from tests.environment import PROJECT_ROOT

AXE = PROJECT_ROOT / "node_modules" / "axe-core" / "axe.min.js"
# What WCAG 2.1 AA asks, and what axe itself holds for good practice.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
_axe_source = ""

OVERFLOWING = """() => {
  const room = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= room) return [];
  return [...document.querySelectorAll('body *')]
    .filter((element) => element.getBoundingClientRect().right > room + 1)
    .slice(0, 5)
    .map((element) => element.outerHTML.slice(0, 120));
}"""
# The stops of the Tab key, in the order in which they were made.
RECORD_FOCUS = """() => {
  window.focusStops = [];
  document.addEventListener('focusin', ({ target }) => window.focusStops.push(target));
}"""
FOCUS_PROBLEMS = """() => {
  const problems = [];
  let before = null;
  const stops = window.focusStops;
  // After the last stop the walk begins anew.
  const end = stops.findIndex((stop, index) => index && stop.matches('.skip-link'));
  for (const stop of end > 0 ? stops.slice(0, end) : stops) {
    const box = stop.getBoundingClientRect();
    const words = stop.outerHTML.slice(0, 120);
    const style = getComputedStyle(stop);
    if (!box.width || !box.height || style.visibility === 'hidden') problems.push(`unseen: ${words}`);
    if (before && !(before.compareDocumentPosition(stop) & Node.DOCUMENT_POSITION_FOLLOWING)
        && before !== stop) problems.push(`out of order: ${words}`);
    before = stop;
  }
  return problems;
}"""


class Visitor:
    """One page, as somebody sees it."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._watch_origin)

    def _note(self, message: ConsoleMessage) -> None:
        # A refused policy, a script's error and a file that is missing are all errors there.
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location.get('url', '')})")

    def _watch_origin(self, request: Any) -> None:
        if not request.url.startswith((self.url, self.url.replace("http", "ws"), "data:", "blob:")):
            self.complaints.append(f"asks elsewhere: {request.url}")

    def open(self, path: str) -> int:
        """Goes there and waits until all has come; the status."""
        response = self.page.goto(self.url + path, wait_until="networkidle")
        assert response is not None
        return response.status

    def overflowing(self, width: int) -> list[str]:
        """What reaches beyond a window of that width and makes it scroll sideways."""
        self.page.set_viewport_size({"width": width, "height": 800})
        # Charts follow their frames a moment later.
        with suppress(TimeoutError):
            self.page.wait_for_function(f"() => !({OVERFLOWING})().length", timeout=3000)
        return list(self.page.evaluate(OVERFLOWING))

    def focus_problems(self, stops: int = 25) -> list[str]:
        """Walks by the Tab key from the top; the first stop must be the way past the menu."""
        self.page.evaluate("document.activeElement?.blur(); scrollTo(0, 0)")
        self.page.evaluate(RECORD_FOCUS)
        for _ in range(stops):
            self.page.keyboard.press("Tab")
        return list(self.page.evaluate(FOCUS_PROBLEMS))

    def set_theme(self, theme: str) -> None:
        self.page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
        self.page.wait_for_function(
            "theme => document.documentElement.getAttribute('data-bs-theme') === theme", arg=theme
        )

    def barriers(self) -> list[str]:
        """What axe finds serious or critical on the page as it stands."""
        global _axe_source
        _axe_source = _axe_source or AXE.read_text(encoding="utf-8")
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(_axe_source)
        options = json.dumps({"runOnly": RULES, "resultTypes": ["violations"]})
        found = self.page.evaluate(f"() => axe.run(document, {options})")
        return [
            f"{violation['id']}: {node['target']} {node['html'][:120]}"
            f" {node['any'][0]['message'] if node['any'] else ''}"
            for violation in found["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]

    def close(self) -> None:
        self.page.close()
