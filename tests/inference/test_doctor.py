from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from inference import doctor
from inference.doctor import examine, missing_backend, probe_backends
from llamagpu.lib.config import LlamaConfig


def with_config(settings: Any, **fields: Any) -> None:
    from dataclasses import replace

    config: LlamaConfig = settings.LLAMA
    settings.LLAMA = replace(config, **fields)


def test_the_backends_are_seen_with_a_reason_for_each_rejected_one(
    redis_client: Any, model: Any
) -> None:
    findings = {finding.name: finding for finding in examine()}
    selected = probe_backends()["selected"]
    assert findings["backend"].ok
    assert findings["backend"].detail.startswith(selected)
    for name in {"cuda", "rocm", "cpu"} - {selected}:
        if f"backend {name}" in findings:
            assert findings[f"backend {name}"].detail
    assert findings["default model"].ok
    assert findings["redis"].ok


def test_a_backend_that_is_not_there_is_named_with_its_reason(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_config(settings, backend="rocm")
    found = {"selected": "cpu", "rejected": {"rocm": "no such device"}, "capabilities": {}}
    monkeypatch.setattr(doctor, "probe_backends", lambda: found)
    assert "LLAMA_BACKEND=rocm: no such device" in missing_backend()
    with pytest.raises(CommandError, match="no such device"):
        call_command("doctor", backend=True)


def test_the_report_for_programs_is_one_json_object(redis_client: Any, model: Any) -> None:
    out = io.StringIO()
    call_command("doctor", json=True, stdout=out)
    report = json.loads(out.getvalue())
    assert report["healthy"] is True
    assert {"database", "memory", "disk"} <= {finding["name"] for finding in report["findings"]}


def test_a_missing_model_fails_the_examination(redis_client: Any, db: None, settings: Any) -> None:
    with_config(settings, default_model="nothing")
    out = io.StringIO()
    with pytest.raises(CommandError, match="missing"):
        call_command("doctor", stdout=out)
    assert "manage.py pull" in out.getvalue()
