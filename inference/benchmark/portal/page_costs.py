"""What open pages cost the server, told apart by its processes, and all figures of pages together."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from inference.benchmark.portal.page_visits import (
    PageScripts,
    measure_scripts,
    measure_usable,
    open_dashboards,
    sign_in,
)
from inference.benchmark.portal.whole_server import USERNAME, WholeServer

CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
#: What is wanted: milliseconds, bytes, and a share of one core.
MOST_USABLE_MS, MOST_SCRIPT_BYTES, MOST_CPU = 1000.0, 300_000, 0.20
# Seconds after which what comes with a beginning is over.
_SETTLING = 15.0


@dataclass(frozen=True, slots=True)
class Work:
    """How much is measured."""

    dashboards: int = 10
    seconds: float = 30.0
    repeat: int = 10


@dataclass(frozen=True, slots=True)
class PageFigures:
    """Times in milliseconds, core-seconds by process over `seconds`."""

    usable: Mapping[str, list[float]]
    scripts: list[PageScripts]
    seconds: float
    dashboards: int
    idle: Mapping[str, float]
    watched: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "missed": self.missed()}

    def cpu_of_dashboards(self) -> float:
        """The share of one core that they take beside what the server takes without them."""
        return (sum(self.watched.values()) - sum(self.idle.values())) / self.seconds

    def missed(self) -> list[str]:
        """The targets that were not reached."""
        slow = [
            f"usable after {median:.0f} ms with a {cache} cache"
            for cache, times in self.usable.items()
            if (median := statistics.median(times)) > MOST_USABLE_MS
        ]
        large = [
            f"{page.path} loads {page.num_bytes} bytes of script"
            for page in self.scripts
            if page.num_bytes > MOST_SCRIPT_BYTES
        ]
        share = self.cpu_of_dashboards()
        busy = [f"dashboards take {100 * share:.1f} % of a core"] if share > MOST_CPU else []
        return [*slow, *large, *busy]


def measure_pages(
    server: WholeServer, chromium: str, work: Work, tell: Callable[[str], None]
) -> PageFigures:
    """Everything, by one browser. The server must have been asked for nothing yet."""
    with sync_playwright() as playwright:
        tell(f"an idle server, {work.seconds:.0f} s")
        time.sleep(_SETTLING)
        idle = _spent(server, work.seconds)
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        state = sign_in(browser, server.url, USERNAME, server.password)
        tell("the scripts of every page")
        scripts = measure_scripts(browser, server.url, state)
        tell(f"the overview, {work.repeat} times with an empty cache and with a full one")
        usable = measure_usable(browser, server.url, state, work.repeat)
        tell(f"{work.dashboards} open dashboards, {work.seconds:.0f} s")
        watched = _watched(browser, server, state, work)
        browser.close()
    return PageFigures(usable, scripts, work.seconds, work.dashboards, idle, watched)


def _watched(browser: Browser, server: WholeServer, state: Any, work: Work) -> dict[str, float]:
    with open_dashboards(browser, server.url, state, work.dashboards):
        time.sleep(_SETTLING)
        return _spent(server, work.seconds)


def _spent(server: WholeServer, seconds: float) -> dict[str, float]:
    """Core-seconds of each kind of process; one that has come meanwhile counts from its start."""
    before = server.cpu_seconds()
    time.sleep(seconds)
    after = server.cpu_seconds()
    return {name: max(0.0, spent - before.get(name, 0.0)) for name, spent in after.items()}
