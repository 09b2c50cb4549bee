"""Keeps the table of models in step with what lies under the model root."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from inference.memory_plan import LEAST_KV_BYTES, LEAST_WEIGHT_BYTES, least_memory
from inference.model_files import ModelFiles, ModelFilesError
from inference.model_store import StoredModel, list_models, read_facts, read_manifest
from inference.models import REMOTE_FORMAT, Model
from inference.querysets import ModelQuerySet
from inference.states import ModelState
from monitoring import audit
from monitoring.audit_actions import AuditAction
from monitoring.configuration import current

logger = logging.getLogger(__name__)

SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """What `sync_models` did: slugs, and the reason for each folder that it passed over.

    `oversized` are registered models that will not load within LLAMA_MAX_MEMORY, with the figures.
    """

    registered: list[str]
    vanished: list[str]
    rejected: dict[str, str]
    oversized: dict[str, str] = field(default_factory=dict)


def sync_models() -> CatalogChange:
    """Register what the model root holds, mark what is gone as absent. Rows are never removed.

    What somebody has deleted from the models is passed over where its files were left.
    """
    change = CatalogChange([], [], {})
    found: set[str] = set()
    rows = {row.path: row for row in Model.objects.exclude(format=REMOTE_FORMAT)}
    for stored in _candidates(change):
        row = rows.get(path_of(stored.path))
        slug = row.slug if row else stored.slug
        if row is not None and row.state == ModelState.REMOVED:
            change.rejected[slug] = "was deleted from the models: pull it to have it back"
            continue
        if slug in found:
            change.rejected[str(stored.path.name)] = f"another model is called '{slug}' already"
            continue
        _sync_one(slug, stored, change, found)
    for model in _registered_by_path().exclude(slug__in=found):
        stored = StoredModel(model.slug, settings.LLAMA.model_path / model.path)
        _sync_one(model.slug, stored, change, found)
    gone = Model.objects.available().exclude(format=REMOTE_FORMAT).exclude(slug__in=found)
    for model in gone:
        _mark_absent(model)
        change.vanished.append(model.slug)
    for slug, reason in change.rejected.items():
        logger.warning("'%s' is no servable model: %s", slug, reason)
    for slug, reason in change.oversized.items():
        logger.warning("'%s' is too large for this machine: %s", slug, reason)
    return change


def register_stored(slug: str, stored: StoredModel, *, actor: Any = None) -> Model:
    """One model that lies under the model root, as a row. Raises ModelFilesError."""
    _register(slug, fields_of(stored, read_facts(stored.path)), actor)
    return Model.objects.get(slug=slug)


def path_of(path: Path) -> str:
    """As rows hold it: under the model root; empty for the root itself."""
    root = settings.LLAMA.model_path
    return "" if path == root else str(path.relative_to(root))


def _registered_by_path() -> ModelQuerySet:
    """Those in folders of folders, which nobody finds by looking at the model root."""
    return Model.objects.filter(
        state__in=(ModelState.AVAILABLE, ModelState.ABSENT),
        path__contains="/",
        source__startswith="path:",
    )


def _sync_one(slug: str, stored: StoredModel, change: CatalogChange, found: set[str]) -> None:
    remote = Model.objects.filter(slug=slug, format=REMOTE_FORMAT).exclude(state=ModelState.REMOVED)
    if remote.exists():
        change.rejected[slug] = "a remote model has this name"
        return
    try:
        files = read_facts(stored.path)
    except ModelFilesError as error:
        change.rejected[slug] = str(error)
        return
    found.add(slug)
    if _register(slug, fields_of(stored, files)):
        change.registered.append(slug)
    if too_large := _explain_size(files):
        change.oversized[slug] = too_large


def _candidates(change: CatalogChange) -> list[StoredModel]:
    """What lies in the model root under a name that URLs can hold."""
    root = settings.LLAMA.model_path
    try:
        models = list_models(root)
    except ModelFilesError as error:
        change.rejected[root.name] = str(error)
        return []
    for stored in models:
        if not SLUG.fullmatch(stored.slug):
            change.rejected[stored.slug] = "its name may hold only a-z 0-9 . _ -"
    return [stored for stored in models if SLUG.fullmatch(stored.slug)]


def fields_of(stored: StoredModel, files: ModelFiles) -> dict[str, Any]:
    """The columns of a row that follow from its files."""
    manifest = read_manifest(stored.path)
    path = path_of(stored.path)
    return {
        "source": manifest.get("source") or f"path:{path or stored.path.name}",
        "revision": stored.revision or manifest.get("revision", ""),
        "path": path,
        "state": ModelState.AVAILABLE,
        "architecture": files.architecture,
        "format": files.format,
        "stored_dtype": files.stored_dtype,
        "num_parameters": files.num_parameters,
        "weight_bytes": files.weight_bytes,
        "context_length": files.max_model_len,
        "vocab_size": files.vocab_size,
        "sha256": manifest.get("weights_sha256", ""),
        "pull_error": "",
    }


def _explain_size(files: ModelFiles) -> str:
    """Why a model will not load within the limit, empty where it will.

    Only host memory is known here: with a GPU the engine decides.
    """
    limit = current().max_memory_bytes
    least = least_memory(
        files,
        context_length=current().max_model_len or None,
        weight_bytes_per_parameter=LEAST_WEIGHT_BYTES,
        kv_dtype_bytes=LEAST_KV_BYTES,
    )
    if current().backend in ("cuda", "rocm") or limit is None or least.total <= limit:
        return ""
    return f"{least.describe(limit)} (LLAMA_MAX_MEMORY={current().max_memory.text})"


@transaction.atomic
def _register(slug: str, fields: dict[str, Any], actor: Any = None) -> bool:
    """Insert or refresh one row; whether it was new or has changed."""
    model, created = Model.objects.get_or_create(slug=slug, defaults=fields)
    changed = {name for name, value in fields.items() if getattr(model, name) != value}
    if not created and not changed:
        return False
    for name in changed:
        setattr(model, name, fields[name])
    if changed:  # these columns alone: what is wanted of the model may change at the same moment
        model.save(update_fields=[*changed, "updated_at"])
    action = AuditAction.MODEL_REGISTERED if created else AuditAction.MODEL_CHANGED
    audit.record(actor=actor, action=action, target=model, data={"slug": slug})
    return True


@transaction.atomic
def _mark_absent(model: Model) -> None:
    model.state = ModelState.ABSENT
    model.save(update_fields=["state", "updated_at"])
    audit.record(
        actor=None, action=AuditAction.MODEL_VANISHED, target=model, data={"slug": model.slug}
    )
