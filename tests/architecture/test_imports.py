"""What each process may load, proved in a fresh interpreter rather than by reading."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def modules_after(code: str) -> set[str]:
    """Top-level modules that are loaded once `code` has run."""
    probe = f"{code}\nimport sys\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "module",
    [
        "inference.engine.engine",
        "inference.engine.process",
        "inference.engine.convert",
        "inference.protocol",
        "inference.wire",
        "inference.tokenizer",
        "inference.chat_template",
        "inference.model_files",
    ],
)
def test_the_engine_stands_without_the_portal(module: str) -> None:
    loaded = modules_after(f"import {module}")
    assert loaded.isdisjoint({"django", "rest_framework", "celery", "kombu", "redis", "channels"})


@pytest.mark.parametrize(
    "module", ["inference.tokenizer", "inference.chat_template", "inference.model_files"]
)
def test_reading_prompts_needs_no_torch(module: str) -> None:
    assert modules_after(f"import {module}").isdisjoint({"torch", "transformers"})


def test_the_web_process_never_loads_torch() -> None:
    loaded = modules_after(
        "import llamagpu.asgi\n"
        "from django.urls import get_resolver\n"
        "from llamagpu.checks import walk_views\n"
        "assert list(walk_views(get_resolver().url_patterns))"
    )
    assert "django" in loaded
    assert loaded.isdisjoint({"torch", "transformers"})


def test_the_worker_process_never_loads_torch() -> None:
    loaded = modules_after(
        "import llamagpu.celery\nllamagpu.celery.app.loader.import_default_modules()"
    )
    assert "celery" in loaded
    assert loaded.isdisjoint({"torch", "transformers"})


def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_packages_start_empty() -> None:
    for name in ("llamagpu", "inference", "accounts", "monitoring", "plugins_app"):
        assert (ROOT / name / "__init__.py").read_text().strip() == ""
