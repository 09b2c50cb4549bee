from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from llamagpu.checks import check_safe_start, is_weak_secret, refuse_unsafe_start

ROOT = Path(__file__).resolve().parents[2]
GOOD = "k3Vx9pQ2mZ7rT1wB8nY4cL6dF0hJ5sGa"


@pytest.fixture
def reachable(settings: Any) -> Any:
    settings.SECRET_KEY = GOOD
    settings.LLAMA = replace(settings.LLAMA, host="0.0.0.0")  # noqa: S104
    return settings


def ids() -> list[str | None]:
    return [problem.id for problem in check_safe_start()]


def test_safe_settings_start(reachable: Any) -> None:
    assert ids() == []
    refuse_unsafe_start()


@pytest.mark.parametrize("secret", ["", "changeme" * 8, "a" * 64, "django-insecure-" + GOOD, "x1"])
def test_a_guessable_secret_does_not_start(reachable: Any, secret: str) -> None:
    assert is_weak_secret(secret)
    reachable.SECRET_KEY = secret or " "
    assert ids() == ["llamagpu.E002"]


def test_debug_does_not_start(reachable: Any) -> None:
    reachable.DEBUG = True
    assert ids() == ["llamagpu.E003"]


def test_every_host_name_does_not_start(reachable: Any) -> None:
    reachable.ALLOWED_HOSTS = ["*"]
    assert ids() == ["llamagpu.E004"]
    with pytest.raises(ImproperlyConfigured, match="DJANGO_ALLOWED_HOSTS"):
        refuse_unsafe_start()


def test_a_public_address_counts_as_reachable(reachable: Any) -> None:
    reachable.LLAMA = replace(
        reachable.LLAMA, host="127.0.0.1", public_url="https://llm.example.org"
    )
    reachable.ALLOWED_HOSTS = ["*"]
    assert ids() == ["llamagpu.E004"]


def test_on_ones_own_machine_only_its_owner_is_at_risk(settings: Any) -> None:
    settings.LLAMA = replace(settings.LLAMA, host="localhost", public_url="http://127.0.0.1:5000")
    settings.SECRET_KEY = "short"
    settings.ALLOWED_HOSTS = ["*"]
    assert ids() == []


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"DJANGO_SECRET_KEY": "changeme"}, "DJANGO_SECRET_KEY"),
        ({"DJANGO_ALLOWED_HOSTS": "*"}, "DJANGO_ALLOWED_HOSTS"),
    ],
)
@pytest.mark.parametrize("start", [["manage.py", "check"], ["-c", "import llamagpu.asgi"]])
def test_the_process_itself_refuses(
    variables: dict[str, str], named: str, start: list[str], tmp_path: Path
) -> None:
    environment = os.environ | {"LLAMA_HOST": "0.0.0.0", "LLAMA_DATA_DIR": str(tmp_path)}  # noqa: S104
    done = subprocess.run(
        [sys.executable, *start],
        cwd=ROOT,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert named in done.stderr
