"""Keeps the table of models in step with the folders under the model root."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from inference.model_files import ModelFilesError, read_model_files
from inference.models import Model
from inference.states import ModelState
from monitoring import audit

logger = logging.getLogger(__name__)

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """What `sync_models` did: slugs, and the reason for each folder that it passed over."""

    registered: list[str]
    vanished: list[str]
    rejected: dict[str, str]


def sync_models() -> CatalogChange:
    """Register what the model root holds, mark what is gone as absent. Rows are never removed."""
    change = CatalogChange([], [], {})
    found: set[str] = set()
    for slug, directory in _candidates(settings.LLAMA.model_path):
        if not _SLUG.fullmatch(slug):
            change.rejected[slug] = "the folder's name may hold only a-z 0-9 . _ -"
            continue
        try:
            fields = _fields_of(directory)
        except ModelFilesError as error:
            change.rejected[slug] = str(error)
            continue
        found.add(slug)
        if _register(slug, fields):
            change.registered.append(slug)
    for model in Model.objects.available().exclude(slug__in=found):
        _mark_absent(model)
        change.vanished.append(model.slug)
    for slug, reason in change.rejected.items():
        logger.warning("the folder '%s' is no servable model: %s", slug, reason)
    return change


def _candidates(root: Path) -> list[tuple[str, Path]]:
    """(slug, folder): the root itself where it is one model's folder, else its sub-folders."""
    if (root / "config.json").is_file():
        return [(root.name.lower(), root)]
    if not root.is_dir():
        return []
    return sorted(
        (path.name.lower(), path)
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )


def _fields_of(directory: Path) -> dict[str, Any]:
    files = read_model_files(directory)
    manifest = _manifest_of(directory)
    return {
        "source": manifest.get("source") or f"path:{directory.name}",
        "path": "" if directory == settings.LLAMA.model_path else directory.name,
        "state": ModelState.AVAILABLE,
        "architecture": files.architecture,
        "stored_dtype": files.stored_dtype,
        "num_parameters": files.num_parameters,
        "weight_bytes": files.weight_bytes,
        "context_length": files.max_model_len,
        "vocab_size": files.vocab_size,
        "sha256": manifest.get("sha256", ""),
    }


def _manifest_of(directory: Path) -> dict[str, str]:
    """Source and SHA-256 of the weights, where `manage.py pull` wrote them down."""
    try:
        content = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    source, files = content.get("source"), content.get("files")
    weights = files.get("model.safetensors") if isinstance(files, dict) else None
    digest = weights.get("sha256") if isinstance(weights, dict) else weights
    return {
        "source": source if isinstance(source, str) else "",
        "sha256": digest if isinstance(digest, str) else "",
    }


@transaction.atomic
def _register(slug: str, fields: dict[str, Any]) -> bool:
    """Insert or refresh one row; whether it was new or has changed."""
    model, created = Model.objects.get_or_create(slug=slug, defaults=fields)
    changed = {name for name, value in fields.items() if getattr(model, name) != value}
    if not created and not changed:
        return False
    for name in changed:
        setattr(model, name, fields[name])
    model.save()
    action = "model.registered" if created else "model.changed"
    audit.record(actor=None, action=action, target=model, data={"slug": slug})
    return True


@transaction.atomic
def _mark_absent(model: Model) -> None:
    model.state = ModelState.ABSENT
    model.save(update_fields=["state", "updated_at"])
    audit.record(actor=None, action="model.vanished", target=model, data={"slug": model.slug})
