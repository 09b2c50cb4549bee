"""One stack, one browser, and a person of each role."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser import portal
from tests.browser.chromium import ARGUMENTS, ChromiumMissingError, provide_chromium
from tests.browser.pages import SIGNED_IN
from tests.browser.portal import HOSTILE, SHARED_HOSTILE, People
from tests.browser.visitor import Visitor
from tests.conftest import MODEL
from tests.e2e.conftest import Stack
from tests.environment import MODEL_ROOT, PROJECT_ROOT
from tests.inference.pulling.hub_server import Hub, files_of, serve

WRITE_MODEL = (
    "import sys; from pathlib import Path; from tests.inference.engine.tiny_models import write_model;"
    "write_model(Path(sys.argv[1]), hidden_size=256, intermediate_size=2048)"
)
# Milliseconds that a busy machine may take for what a person waits for.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` runs them by themselves: Playwright keeps an event loop running in its thread."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with one repository, org/tiny: a random model of 20 MB."""
    folder = tmp_path_factory.mktemp("tiny")
    # In a process of its own: torch is not for this one.
    subprocess.run([sys.executable, "-c", WRITE_MODEL, str(folder)], cwd=PROJECT_ROOT, check=True)
    made = Hub({name: data for name, data in files_of(folder).items() if name != "manifest.json"})
    server = serve(made)
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def stack(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    models = tmp_path_factory.mktemp("models")
    (models / MODEL).symlink_to(MODEL_ROOT / MODEL)
    with portal.running_stack(models, LLAMA_HUB_ENDPOINT=hub.url, NO_PROXY="*") as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    try:
        path = provide_chromium()
    except ChromiumMissingError as error:
        pytest.exit(str(error), 1)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def people(stack: Stack, browser: Browser) -> People:
    return People(stack, browser)


@pytest.fixture
def visit(people: People) -> Iterator[Callable[..., Visitor]]:
    """`visit(caller, path)` opens a page as that person; at the end nobody may have complained."""
    opened: list[Visitor] = []

    def go(caller: str, path: str = "", **options: Any) -> Visitor:
        visitor = Visitor(people.context(caller, **options), people.stack.url)
        visitor.page.set_default_timeout(PATIENCE)
        opened.append(visitor)
        if path:
            assert visitor.open(path) == 200, path
        return visitor

    yield go
    complaints = [complaint for visitor in opened for complaint in visitor.complaints]
    for visitor in opened:
        with suppress(Exception):
            visitor.context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def finished_job(stack: Stack) -> str:
    answer = stack.infer({"text": HOSTILE, "max_tokens": 4})
    assert answer.is_success, answer.text
    return str(answer.json()["metadata"]["job_id"])


@pytest.fixture(scope="session")
def hostile_rows(stack: Stack, people: People) -> Iterator[str]:
    """Names with markup in them: everybody's key, a role, a rule, a silence, a conversation, whose id
    this is.
    """
    for caller in SIGNED_IN:
        people.call(caller, "keys", {"name": HOSTILE})
    rule = {"name": SHARED_HOSTILE, "metric": "workers", "comparison": ">", "threshold": 1e6}
    rule_id = portal.call(stack, "POST", "alerts/rules", rule)["rule"]["id"]
    ends_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    silence = {"rule": rule_id, "comment": SHARED_HOSTILE, "ends_at": ends_at}
    portal.call(stack, "POST", "alerts/silences", silence)
    portal.call(stack, "POST", "roles", {"slug": "odd", "name": HOSTILE, "rights": {}})
    turns = [{"role": "user", "content": HOSTILE}, {"role": "assistant", "content": HOSTILE}]
    conversation = portal.call(
        stack,
        "POST",
        "conversations",
        {"title": HOSTILE, "model": MODEL, "messages": turns},
    )
    yield str(conversation["conversation"]["id"])
    portal.call(stack, "DELETE", "roles/odd")
    portal.call(stack, "DELETE", f"alerts/rules/{rule_id}")
