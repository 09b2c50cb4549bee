"""Every page of the site, Django admin's too, works under a policy without inline scripts and styles."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from llamagpu.http.endpoints import endpoints
from tests.architecture.test_files import ROOT
from tests.conftest import Caller

# A JSON script element is data that is never run.
_INLINE = {
    "a script": re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", re.IGNORECASE),
    "a style element": re.compile(r"<style\b", re.IGNORECASE),
    "a style attribute": re.compile(r"<[a-z][^>]*\sstyle\s*=", re.IGNORECASE),
    "a handler": re.compile(r"<[a-z][^>]*\son[a-z]+\s*=", re.IGNORECASE),
    "a foreign source": re.compile(r"<(?:script|link|img)[^>]*(?:src|href)=\"(?:https?:)?//", re.I),
}


def addresses() -> list[str]:
    """Of pages without arguments, and of all lists and forms of Django admin."""
    pages = sorted({f"/{endpoint.route}" for endpoint in endpoints() if "<" not in endpoint.route})
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        pages += [reverse(f"{name}_changelist"), reverse(f"{name}_add")]
    return [*pages, reverse("admin:index")]


def test_no_page_needs_what_the_policy_forbids(admin: Caller, redis_client: Any) -> None:
    browser = Client(headers={"Accept": "text/html"})
    browser.force_login(admin.user)
    seen = 0
    for address in addresses():
        answer = browser.get(address)
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy, address
        assert "default-src 'self'" in policy, address
        if answer.streaming or "text/html" not in answer.headers.get("Content-Type", ""):
            continue
        page = answer.content.decode()
        found = [what for what, pattern in _INLINE.items() if pattern.search(page)]
        assert found == [], address
        seen += answer.status_code == 200
    assert seen > 20


_PROBE = """
import django, json
django.setup()
from django.test import Client
browser = Client(headers={"Host": "llm.example.org", "X-Forwarded-Proto": "https"})
answer = browser.get("/livez")
plain = Client(headers={"Host": "llm.example.org"}).get("/login/")
from django.conf import settings
print(json.dumps({
    "hsts": answer.headers.get("Strict-Transport-Security"),
    "redirect": [plain.status_code, plain.headers.get("Location")],
    "secure": [settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE],
}))
"""


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "https://llm.example.org",
            {
                "hsts": "max-age=31536000; includeSubDomains; preload",
                "redirect": [301, "https://llm.example.org/login/"],
                "secure": [True, True],
            },
        ),
    ],
)
def test_a_public_https_address_turns_on_what_browsers_need(url: str, said: Any) -> None:
    environment = os.environ | {
        "LLAMA_PUBLIC_URL": url,
        "LLAMA_TRUSTED_PROXY": "true",
        "DJANGO_SETTINGS_MODULE": "llamagpu.settings",
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROBE], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == said
