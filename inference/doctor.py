"""Looks at everything that serving needs and says, for each thing, what was found or how to mend it."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from inference.memory_plan import estimate_memory
from inference.model_files import ModelFilesError
from inference.model_store import read_facts
from inference.models import Model
from inference.prompts import model_directory
from monitoring.collectors.host import read_disk, read_memory
from monitoring.configuration import current
from monitoring.health import ProbeFailedError
from monitoring.probes import probe_database, probe_redis

_PROJECT_ROOT = Path(__file__).resolve().parents[1]
_BACKEND_COMMAND = (sys.executable, "-m", "inference.engine.backends")
_BACKEND_TIMEOUT = 120
_LOW_DISK = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """`is_required` ones make `manage.py doctor` fail; the others are worth knowing."""

    name: str
    ok: bool
    detail: str
    is_required: bool = True


class BackendProbeError(Exception):
    """The backends could not be looked at."""


def examine() -> list[Finding]:
    """Every finding, in the order in which they matter."""
    return [
        *_backends(),
        _probe("database", probe_database),
        _probe("redis", probe_redis, is_required=False),
        _default_model(),
        _compiler(),
        _memory(),
        _disk(),
        _secrets(),
    ]


def probe_backends() -> dict[str, Any]:
    """`{selected, rejected, capabilities}` as the engine sees them. Raises BackendProbeError.

    A process of its own looks, since this one must not load torch.
    """
    try:
        done = subprocess.run(
            _BACKEND_COMMAND,
            cwd=_PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=_BACKEND_TIMEOUT,
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise BackendProbeError(f"the engine's libraries cannot be used: {error}") from error
    return found


def missing_backend() -> str:
    """Why the backend that LLAMA_BACKEND asks for cannot be had; empty when it can."""
    wanted = settings.LLAMA.backend
    if wanted in ("auto", "cpu"):
        return ""
    try:
        return _missing_in(probe_backends())
    except BackendProbeError as error:
        return f"LLAMA_BACKEND={wanted}: {error}"


def _missing_in(found: dict[str, Any]) -> str:
    wanted = settings.LLAMA.backend
    reason = found["rejected"].get(wanted)
    if reason is None or found["selected"] == wanted:
        return ""
    return f"LLAMA_BACKEND={wanted}: {reason}. Mend that, or set LLAMA_BACKEND=auto."


def _backends() -> list[Finding]:
    """The one that will be used, then each rejected one with its reason."""
    try:
        found = probe_backends()
    except BackendProbeError as error:
        return [Finding("backend", False, str(error))]
    facts = ", ".join(f"{name}={value}" for name, value in found["capabilities"].items())
    missing = _missing_in(found)
    return [
        Finding("backend", not missing, missing or f"{found['selected']} ({facts})"),
        *(
            Finding(f"backend {name}", False, reason, is_required=False)
            for name, reason in found["rejected"].items()
        ),
    ]


def _probe(name: str, probe: Callable[[], str], *, is_required: bool = True) -> Finding:
    try:
        return Finding(name, True, probe(), is_required)
    except ProbeFailedError as error:
        return Finding(name, False, str(error), is_required)


def _default_model() -> Finding:
    slug = current().default_model
    model = Model.objects.available().filter(slug=slug).first()
    if model is None:
        return Finding("default model", False, f"'{slug}' is not registered: manage.py pull")
    try:
        need = _need_of(model)
    except ModelFilesError as error:
        return Finding("default model", False, str(error))
    return Finding("default model", True, f"{slug} in {model_directory(model)}; {need}")


def _need_of(model: Model) -> str:
    """The memory of the model with the settings of now, in plain float32: a CPU's upper bound."""
    limit = current().max_memory_bytes
    files = read_facts(model_directory(model))
    estimate = estimate_memory(
        files,
        num_slots=current().num_slots,
        context_length=current().max_model_len or None,
    )
    text = estimate.describe(limit)
    if limit is not None and estimate.total > limit:
        return f"{text}; slots and context will be cut to fit"
    return text


def _compiler() -> Finding:
    path = shutil.which("g++")
    detail = path or "no g++: the engine works without it, but cannot compile faster kernels"
    return Finding("compiler", path is not None, detail, is_required=False)


def _memory() -> Finding:
    memory = read_memory()
    total = min(memory.total, memory.limit or memory.total)
    text = f"{memory.available / 1024**3:.1f} of {total / 1024**3:.1f} GiB available"
    limit = current().max_memory_bytes
    if limit is not None:
        text += f", models may hold {limit / 1024**3:.1f} ({current().max_memory.text})"
    return Finding("memory", memory.available > 1024**3, text, is_required=False)


def _disk() -> Finding:
    disk = read_disk(settings.LLAMA.data_dir)
    text = f"{disk.free / 1024**3:.1f} GiB free in {disk.path}"
    return Finding("disk", disk.free > _LOW_DISK, text, is_required=False)


def _secrets() -> Finding:
    """Files that others could read would give the installation away."""
    names = ("secret_key", "key_pepper", "initial_admin_password")
    paths = [settings.LLAMA.data_dir / name for name in names]
    open_ones = [
        path for path in paths if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if open_ones:
        return Finding(
            "secrets", False, f"others can read them: chmod 600 {' '.join(map(str, open_ones))}"
        )
    return Finding("secrets", True, "readable by their owner alone")
