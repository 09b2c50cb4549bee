"""The stack that the browser tests look at, and the people who look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from playwright.sync_api import Browser, BrowserContext

from inference.benchmark.portal.page_visits import fill_sign_in
from tests.browser.pages import ADMIN, SIGNED_IN, STRANGER
from tests.e2e.conftest import Stack
from tests.environment import MODEL_ROOT

ADMIN_PASSWORD = "correct-horse-battery-1"
# Whatever takes a text is given this one; no page may make an element of it.
HOSTILE = '<img src=x onerror="document.title=1">'
# The same for rows that everybody sees.
SHARED_HOSTILE = "<img src=x alt=shared>"
HOSTILE_ELEMENT = "img[src='x']"


@contextmanager
def running_stack(model_root: Path = MODEL_ROOT, **environment: str) -> Iterator[Stack]:
    """At level 1 an answer comes at the speed that people see."""
    with TemporaryDirectory(prefix="llamagpu-browser-") as folder:
        stack = Stack(
            Path(folder), "1", model_root, LLAMA_ADMIN_PASSWORD=ADMIN_PASSWORD, **environment
        )
        try:
            stack.wait_ready()
            yield stack
        finally:
            if stack.process.poll() is None:
                stack.stop()


def call(stack: Stack, method: str, path: str, body: Any = None) -> Any:
    """A call of the API as the first admin, which must go well."""
    response = httpx.request(
        method, f"{stack.url}/api/{path}", json=body, headers=stack.headers, timeout=60
    )
    assert response.is_success, response.text
    return response.json() if response.content else None


class People:
    """One of each role, with names that mean harm; they sign in by the page."""

    def __init__(self, stack: Stack, browser: Browser) -> None:
        self.stack = stack
        self.browser = browser
        self._states: dict[str, Any] = {STRANGER: None}
        known = {user["username"]: user for user in call(stack, "GET", "users")["results"]}
        for role in SIGNED_IN:
            name = self.name_of(role)
            user = known[name]["id"] if name in known else self.make(name, role)
            names = {"first_name": HOSTILE, "last_name": HOSTILE}
            call(stack, "PATCH", f"users/{user}", names)

    def make(self, username: str, role: str) -> int:
        """One more person; the id."""
        fields = {"username": username, "password": ADMIN_PASSWORD, "role": role}
        return int(call(self.stack, "POST", "users", fields)["user"]["id"])

    @staticmethod
    def name_of(role: str) -> str:
        """The first admin owns what calls of the API make."""
        return "admin" if role == ADMIN else f"the-{role}"

    def context(self, caller: str, **options: Any) -> BrowserContext:
        """A browser of somebody's own: a role's person, nobody's for a stranger, or a user name."""
        if caller not in self._states:
            name = self.name_of(caller) if caller in SIGNED_IN else caller
            self._states[caller] = sign_in(self.stack, self.browser, name)
        return self.browser.new_context(storage_state=self._states[caller], **options)

    def call(self, caller: str, path: str, body: Any) -> None:
        """A POST of the API as somebody else, with the session of their browser."""
        context = self.context(caller)
        token = next(cookie for cookie in context.cookies() if "csrftoken" in cookie["name"])
        headers = {"X-CSRFToken": token["value"], "Referer": self.stack.url}
        answer = context.request.post(f"{self.stack.url}/api/{path}", data=body, headers=headers)
        assert answer.ok, answer.text()
        context.close()


def sign_in(stack: Stack, browser: Browser, username: str, password: str = ADMIN_PASSWORD) -> Any:
    """By the page, as people do; what the browser keeps of it."""
    context = browser.new_context()
    fill_sign_in(context.new_page(), stack.url, username, password)
    state = context.storage_state()
    context.close()
    return state
