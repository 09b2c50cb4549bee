"""The way from an upload to a running plugin does what docs/plugins.md says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.conftest import Stack, wait_until
from tests.e2e.page_examples import examples_of, run_example


def test_the_way_of_an_upload_to_its_end(stack: Stack, tmp_path: Path) -> None:
    (example,) = [item for item in examples_of("plugins.md") if item.title == "An upload"]
    answers = [json.loads(line) for line in run_example(stack, example, tmp_path).split("\n")[:-2]]
    states = [
        answer["plugin"]["state"]
        for answer in answers
        if "plugin" in answer and isinstance(answer["plugin"], dict)
    ]
    assert states[:2] == ["discovered", "validated"]
    assert states[-2:] == ["active", "unloaded"]
    (tried,) = [answer for answer in answers if "outcome" in answer]
    assert (tried["outcome"], tried["result"]["text"]) == ("answered", "Hello!")
    assert not (stack.data_dir / "plugins" / "user" / "louder").exists()


def test_a_worker_notices_a_plugin_by_itself(stack: Stack) -> None:
    folder = stack.data_dir / "plugins" / "user"
    folder.mkdir(parents=True, exist_ok=True)
    broken = folder / "broken.py"
    broken.write_text("def (")
    try:
        wait_until(lambda: state_of(stack, "broken") == "rejected", "the scan", 30)
    finally:
        broken.unlink()
    wait_until(lambda: state_of(stack, "broken") is None, "the next scan", 30)


def state_of(stack: Stack, slug: str) -> Any:
    answer = httpx.get(f"{stack.url}/api/plugins/{slug}", headers=stack.headers, timeout=30)
    return answer.json()["plugin"]["state"] if answer.status_code == 200 else None
