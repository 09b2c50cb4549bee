"""What a person reads once everything is ready: where it is, how to sign in, a first request."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from llamagpu.lib.config import LlamaConfig
from llamagpu.supervisor.preparation import FirstAdmin
from llamagpu.supervisor.readiness import reachable_host

_BODY = '{"text": "What is the capital of France?", "temperature": 0}'
# It decides which database and pepper a second process finds, and holds no secret itself.
_PASSED_ON = ("LLAMA_DATA_DIR",)


def base_url(config: LlamaConfig, host: str, port: int) -> str:
    """Where a person on this machine finds the portal."""
    if config.public_url:
        return config.public_url
    name = reachable_host(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def first_curl(url: str, username: str, base_dir: Path) -> str:
    """One line for a shell: makes a key and asks with it."""
    passed_on = [
        f"{name}={shlex.quote(os.environ[name])}" for name in _PASSED_ON if os.environ.get(name)
    ]
    manage = [sys.executable, str(base_dir / "manage.py")]
    arguments = [*manage, "key", "create", "--user", username, "--name", "first-curl"]
    key = " ".join([*passed_on, shlex.join(arguments)])
    return (
        f'curl -s {shlex.quote(f"{url}/api/infer")} -H "Authorization: Bearer $({key})"'
        f" -H 'Content-Type: application/json' -d '{_BODY}'"
    )


def welcome(url: str, admin: FirstAdmin, base_dir: Path) -> str:
    password = f", first password in {admin.password_file}" if admin.password_file else ""
    return "\n".join(
        [
            "",
            f"  Portal   {url}/",
            f"  Sign in  {admin.username}{password}",
            f"  Try it   {first_curl(url, admin.username, base_dir)}",
            "",
            "ready",
        ]
    )
