"""Remote models in Django admin and on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from inference.models import Model, Upstream
from inference.services.upstreams import open_key
from inference.worker import load_orders
from inference.worker.engine_process import EngineLoadError
from llamagpu.lib.allow_list import AllowList
from monitoring.models import AuditLog
from tests.conftest import Caller

KEY = "sk-very-secret"
FORM = {
    "name": "",
    "context_length": "4096",
    "base_url": "https://vllm.example.org/v1",
    "upstream_model": "org/Some-Model",
    "silence": "120",
    "capabilities": ["chat"],
    "new_key": KEY,
}
ADD = "admin:inference_upstream_add"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]


@pytest.fixture(autouse=True)
def allowed(settings: Any) -> None:
    allow = AllowList.parse(["vllm.example.org"])
    settings.LLAMA = replace(settings.LLAMA, upstream_allow=allow)


@pytest.fixture
def browser(admin: Caller) -> Client:
    client = Client()
    client.force_login(admin.user)
    return client


def page_of(upstream: Upstream) -> str:
    return reverse("admin:inference_upstream_change", args=[upstream.pk])


def test_a_remote_model_is_added_with_its_key(browser: Client) -> None:
    assert browser.post(reverse(ADD), FORM).status_code == 302
    upstream = Upstream.objects.get()
    assert (upstream.model.slug, upstream.model.context_length) == ("some-model", 4096)
    assert upstream.capabilities == ["chat"]
    assert open_key(upstream) == KEY
    page = browser.get(page_of(upstream)).content.decode()
    assert KEY not in page
    assert upstream.sealed_key not in page
    assert KEY not in repr(list(AuditLog.objects.values()))


def test_a_refusal_is_shown_on_the_form(browser: Client) -> None:
    answer = browser.post(reverse(ADD), {**FORM, "base_url": "https://169.254.169.254/v1"})
    assert answer.status_code == 200
    assert "LLAMA_UPSTREAM_ALLOW" in answer.content.decode()
    assert KEY not in answer.content.decode()
    assert not Model.objects.exists()


def test_the_key_stays_until_another_one_is_typed(browser: Client) -> None:
    browser.post(reverse(ADD), FORM)
    upstream = Upstream.objects.get()
    changed = {**FORM, "silence": "60", "new_key": ""}
    assert browser.post(page_of(upstream), changed).status_code == 302
    upstream.refresh_from_db()
    assert (upstream.silence, open_key(upstream)) == (60, KEY)
    browser.post(page_of(upstream), {**changed, "new_key": "another"})
    upstream.refresh_from_db()
    assert open_key(upstream) == "another"
    browser.post(page_of(upstream), {**changed, "without_key": "on"})
    upstream.refresh_from_db()
    assert not upstream.has_key


def test_the_command_reads_the_key_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    out = StringIO()
    call_command(
        "remote", "https://vllm.example.org/v1", "org/Some-Model",
        "--context", "512", "--name", "far", "--key-file", str(path), stdout=out,
    )  # fmt: skip
    upstream = Upstream.objects.get(model__slug="far")
    assert open_key(upstream) == KEY
    assert KEY not in out.getvalue()


def test_pull_names_the_command_that_adds_remote_models() -> None:
    with pytest.raises(CommandError, match=r"manage\.py remote"):
        call_command("pull", "remote:https://vllm.example.org/v1", stdout=StringIO())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["https://elsewhere.example.org/v1", "m", "--context", "5"], "LLAMA_UPSTREAM_ALLOW"),
        (["https://vllm.example.org/v1", "m", "--context", "0"], "context_length"),
        (["https://vllm.example.org/v1", "m", "--context", "5", "--key-file", "/no"], "key-file"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        call_command("remote", *arguments, stdout=StringIO())


def test_a_key_that_cannot_be_read_any_more_says_so(
    browser: Client, settings: Any, remote_order: Callable[[str], Any]
) -> None:
    browser.post(reverse(ADD), FORM)
    assert remote_order("some-model").load.key == KEY
    settings.SECRET_KEY = "another secret"
    with pytest.raises(EngineLoadError, match="set it again"):
        remote_order("some-model")
    settings.LLAMA = replace(settings.LLAMA, upstream_allow=AllowList())
    with pytest.raises(EngineLoadError, match="LLAMA_UPSTREAM_ALLOW"):
        remote_order("some-model")


@pytest.fixture
def remote_order(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """What a worker would load; the test's own connection stays open."""
    monkeypatch.setattr(load_orders.connections, "close_all", lambda: None)
    return load_orders.order_for
