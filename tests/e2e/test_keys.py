"""A key that is revoked while its stream is open."""

from __future__ import annotations

import threading

import httpx

from tests.e2e.conftest import LONG, Stack, read_sse, wait_until


def test_revoking_a_key_ends_its_open_stream_and_the_job(stack: Stack) -> None:
    key = stack.manage("key", "create", "--user", "admin", "--name", "short-lived").strip()
    headers = {"Authorization": f"Bearer {key}"}
    body = {**LONG, "max_tokens": 4000}
    with httpx.stream(
        "POST", f"{stack.url}/api/stream_infer", json=body, headers=headers, timeout=120
    ) as response:
        request_id = response.headers["X-Request-ID"]
        events = read_sse(response.iter_lines())
        assert next(events)["token"] is not None
        deed = threading.Thread(target=stack.manage, args=("key", "revoke", key.split("_")[1]))
        deed.start()
        last = list(events)[-1]
    deed.join()
    assert last["event"] == "error"
    assert last["error"]["code"] == "AUTHENTICATION_FAILED"
    assert httpx.get(f"{stack.url}/api/me", headers=headers).status_code == 401
    wait_until(
        lambda: (stack.job(request_id=request_id) or {}).get("state") == "cancelled", "cancelled"
    )
