from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.api_keys import generate_key
from monitoring import audit
from monitoring.audit_actions import AuditAction
from monitoring.models import AuditLog
from monitoring.redaction import MAX_TEXT, REDACTED, redact

SECRET = "hunter2 hunter2"


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "new_password",
        "Password2",
        "secret",
        "client_secret",
        "SECRET_KEY",
        "key",
        "api_key",
        "apiKey",
        "X-API-Key",
        "token",
        "access_token",
        "accessToken",
        "prompt",
        "system_prompt",
        "text",
        "generated_text",
        "messages",
        "output",
        "digest",
        "Authorization",
        "recovery_codes",
        "inputs",
        "content",
    ],
)
def test_what_is_named_like_a_secret_or_a_prompt_is_redacted_at_any_depth(name: str) -> None:
    given_value = {"a": [{"b": {name: [SECRET]}}], name: SECRET}
    found = redact(given_value)
    assert found == {"a": [{"b": {name: REDACTED}}], name: REDACTED}


@pytest.mark.parametrize(
    "name",
    [
        "key_prefix",
        "prefix",
        "max_new_tokens",
        "daily_tokens",
        "tokens_per_minute",
        "reason",
        "context_length",
        "scopes",
        "keyboard",
    ],
)
def test_other_names_keep_their_values(name: str) -> None:
    assert redact({name: 5}) == {name: 5}


def test_a_key_inside_a_text_is_taken_out() -> None:
    key = str(generate_key())
    assert redact({"note": f"use {key} now"}) == {"note": f"use {REDACTED} now"}


def test_long_values_are_cut_and_deep_ones_end() -> None:
    assert len(redact("x" * 5000)) == MAX_TEXT
    deep: Any = SECRET
    for _ in range(40):
        deep = {"a": deep}
    assert SECRET not in json.dumps(redact(deep))


def test_values_that_databases_change_are_written_in_one_way() -> None:
    assert redact([1e16, 0.5, float("nan"), "a\0b", "\ud800"]) == [
        10**16,
        0.5,
        "nan",
        "a\ufffdb",
        "?",
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(json_values)
def test_what_was_redacted_is_json_and_stays_the_same(value: Any) -> None:
    once = redact(value)
    assert json.loads(json.dumps(once)) == once
    assert redact(once) == once


@pytest.mark.django_db
def test_rows_hold_no_secret_and_read_back_with_their_hash() -> None:
    row = audit.record(
        actor=None,
        action=AuditAction.USER_CHANGED,
        target=None,
        data={"password": SECRET, "size": 1e16, "part": 1e-7, "big": 10**18, "names": {"b", "a"}},
        before={"prompt": SECRET},
        after={"note": str(generate_key())},
    )
    stored = AuditLog.objects.get(pk=row.pk)
    assert audit.hash_of(stored) == stored.hash
    everything = json.dumps([stored.data, stored.before, stored.after])
    assert SECRET not in everything
    assert "lg_" not in everything
    assert stored.data["names"] == ["a", "b"]
