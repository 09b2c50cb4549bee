from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

ORIGIN = "https://app.example.org"


@pytest.mark.parametrize("path", ["/livez", "/login/", "/api/models", "/nowhere"])
def test_every_answer_keeps_other_sites_away(path: str, db: None) -> None:
    headers = Client().get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]


def test_a_name_that_is_not_ours_is_refused(db: None) -> None:
    answer = Client().get("/api/models", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "INVALID_INPUT"


def test_pages_of_other_sites_may_not_call(db: None) -> None:
    answer = Client().get("/api/models", headers={"Origin": ORIGIN})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_named_origin_may_call_the_api_with_a_key_but_never_with_a_cookie(
    settings: Any, db: None
) -> None:
    settings.CORS_ALLOWED_ORIGINS = [ORIGIN]
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    answer = Client().options("/api/infer", headers=asked)
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Access-Control-Allow-Origin" not in Client().get("/login/", headers=asked).headers


def test_all_origins_are_never_given_cookies(settings: Any, db: None) -> None:
    settings.CORS_ALLOW_ALL_ORIGINS = True
    answer = Client().get("/api/models", headers={"Origin": ORIGIN})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_a_session_needs_the_forms_token_to_write(member: Any, redis_client: Any) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(member.user)
    refused = browser.post("/api/keys", {"name": "x"}, content_type="application/json")
    assert refused.status_code == 403
    assert "CSRF" in refused.json()["error"]["message"]
    assert member.user.api_keys.count() == 1


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(settings: Any) -> None:
    assert settings.SESSION_COOKIE_HTTPONLY
    assert settings.SESSION_COOKIE_SAMESITE == "Lax"
    assert settings.CSRF_COOKIE_SAMESITE == "Lax"
