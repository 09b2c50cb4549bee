"""`manage.py run`: a conversation in the terminal with the running server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

from tests.conftest import MODEL
from tests.e2e.conftest import LONG, Stack, wait_until
from tests.environment import PROJECT_ROOT

GREEDY = ("--temperature", "0", "--max-tokens", "20")


def talk(stack: Stack, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "run", MODEL, *arguments],
        cwd=PROJECT_ROOT,
        env={**stack.environment, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Programs in the background of a shell ignore it, and so do theirs.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def usable_keys(stack: Stack) -> list[dict[str, Any]]:
    keys = json.loads(stack.manage("key", "list", "--user", "admin", "--json"))
    return [key for key in keys if key["name"] == "manage.py run" and key["state"] == "usable"]


def test_an_answer_for_a_program(stack: Stack) -> None:
    said, _ = talk(stack, "What is the capital of France?", "--json", *GREEDY).communicate("")
    answer = json.loads(said)
    assert answer["model"] == MODEL
    assert "Paris" in answer["answer"]
    assert usable_keys(stack) == []


def test_a_conversation_remembers_until_it_is_cleared(stack: Stack) -> None:
    lines = "What is the capital of France?\n/what\nSay it again.\n/clear\nSay it again.\n/bye\n"
    process = talk(stack, "--system", "Answer in one sentence.", *GREEDY)
    said, errors = process.communicate(lines, timeout=120)
    assert (process.returncode, errors) == (0, "")
    _, first, unknown, second, _, third, _ = said.split(">>> ")
    assert "Paris" in first
    assert unknown.startswith("/clear forgets")
    assert second != third
    assert usable_keys(stack) == []


def test_an_answer_that_is_stopped_ends_its_job(stack: Stack) -> None:
    process = talk(stack, str(LONG["text"]), "--temperature", "0", "--max-tokens", "500")
    assert process.stdout
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert usable_keys(stack) == []
    wait_until(lambda: stack.job(state="running") is None, "nothing runs any more")
