"""What `manage.py bench_pages` measures, of a server at work."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from inference.benchmark.portal.page_costs import MOST_SCRIPT_BYTES
from inference.benchmark.portal.page_visits import measure_usable, open_dashboards, scripts_of
from inference.benchmark.portal.whole_server import WholeServer
from tests.browser.portal import ADMIN_PASSWORD, sign_in
from tests.e2e.conftest import Stack


@pytest.fixture(scope="module")
def state(stack: Stack, browser: Browser) -> object:
    return sign_in(stack, browser, "admin")


# Those that draw charts, and the one that shows Markdown, load the most.
@pytest.mark.parametrize("path", ["/", "/monitoring", "/usage", "/playground"])
def test_no_page_loads_much_script(
    path: str, stack: Stack, browser: Browser, state: object
) -> None:
    scripts = scripts_of(browser, stack.url, state, path)
    assert scripts.num_scripts > 4
    assert 20_000 < scripts.num_bytes < MOST_SCRIPT_BYTES


def test_the_overview_tells_when_it_can_be_used(
    stack: Stack, browser: Browser, state: object
) -> None:
    usable = measure_usable(browser, stack.url, state, 1)
    assert [len(times) for times in usable.values()] == [1, 1]
    assert min(min(times) for times in usable.values()) > 0


def test_the_time_of_every_process_of_a_server_is_told_apart(
    stack: Stack, browser: Browser, state: object
) -> None:
    server = WholeServer(stack.url, ADMIN_PASSWORD, stack.process.pid)
    before = server.cpu_seconds()
    assert {"supervisor", "valkey", "worker", "engine", "monitor", "web"} <= set(before)
    with open_dashboards(browser, stack.url, state, 2):
        after = server.cpu_seconds()
    assert after["web"] > before["web"]
