"""Writes of which models there are: registered from a source, removed with or without their files."""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from django.conf import settings
from django.db import transaction

from inference.catalog import SLUG, fields_of, path_of
from inference.model_bell import ring
from inference.model_files import ModelFilesError
from inference.model_sources import (
    SourceKind,
    SourceRefusedError,
    is_pulled,
    kind_of,
    slug_of,
    stored_at,
)
from inference.model_store import read_facts
from inference.models import REMOTE_FORMAT, Model
from inference.pulling.errors import PullError
from inference.services.upstreams import forget_upstream
from inference.states import DesiredState, ModelState
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.audit_actions import AuditAction
from monitoring.configuration import current

logger = logging.getLogger(__name__)

#: What is not known of a model before its files are here.
_UNKNOWN: dict[str, Any] = {
    "revision": "",
    "architecture": "",
    "format": "",
    "stored_dtype": "",
    "num_parameters": 0,
    "weight_bytes": 0,
    "context_length": 0,
    "vocab_size": 0,
    "sha256": "",
}
_HUB_CACHE = "models--"


@dataclass(frozen=True, slots=True)
class Registration:
    """`name` None takes the source's own; `changes` are columns such as `keep_alive`, checked."""

    source: str
    name: str | None
    changes: Mapping[str, Any]


def register_model(*, actor: Any, registration: Registration) -> Model:
    """A row for a model: available where its files are here, else absent until it is pulled.

    Raises AppError INVALID_INPUT naming the field, CONFLICT where the name or the folder is taken.
    """
    slug, fields = _resolve(registration)
    if not SLUG.fullmatch(slug):
        raise AppError(
            ErrorCode.INVALID_INPUT, "name: must be at most 128 of a-z 0-9 . _ - and begin plainly."
        )
    with transaction.atomic():
        row = Model.objects.select_for_update().filter(slug=slug).first()
        if row is not None and row.state != ModelState.REMOVED:
            raise AppError(
                ErrorCode.CONFLICT, f"There is a model '{slug}' already: choose another name."
            )
        others = Model.objects.known().filter(path=fields["path"]).exclude(slug=slug)
        if other := others.exclude(format=REMOTE_FORMAT).first():
            raise AppError(
                ErrorCode.CONFLICT, f"This folder is registered already, as '{other.slug}'."
            )
        # What was deleted and left on the disk is this model from now on.
        Model.objects.filter(state=ModelState.REMOVED, path=fields["path"]).update(path="")
        row = row or Model(slug=slug)
        values = {"is_enabled": True, "desired_state": DesiredState.AUTOMATIC, "pull_error": ""}
        for name, value in {**values, **fields, **registration.changes}.items():
            setattr(row, name, value)
        row.generation += 1
        row.save()
        data = {"slug": slug, "source": row.source}
        audit.record(actor=actor, action=AuditAction.MODEL_REGISTERED, target=row, data=data)
        transaction.on_commit(ring)
    return row


def remove_model(*, actor: Any, model: Model, with_files: bool | None = None) -> Model:
    """Have a model go: unloaded as by hand, then hidden; its jobs still name it.

    `with_files` None deletes the files of a model that was pulled and leaves all others. A pull of
    it ends, and what it had fetched goes. Raises AppError CONFLICT for the default model, and where
    its files cannot be deleted, with nothing changed.
    """
    with transaction.atomic():
        row = Model.objects.select_for_update().get(pk=model.pk)
        if row.slug == current().default_model:
            message = f"'{row.slug}' is the default model: name another one before deleting it."
            raise AppError(ErrorCode.CONFLICT, message)
        deletes = is_pulled(row) if with_files is None else with_files
        before = {"state": row.state, "desired_state": row.desired_state}
        row.state, row.desired_state = ModelState.REMOVED, DesiredState.UNLOADED
        row.is_pinned, row.pull_error = False, ""
        row.generation += 1
        folder = _folder_of(row) if deletes else None
        if folder is not None:
            row.path = ""  # what somebody puts there later is another model
        row.save()
        audit.record(
            actor=actor,
            action=AuditAction.MODEL_REMOVED,
            target=row,
            data={"slug": row.slug, "source": row.source, "files_deleted": folder is not None},
            before=before,
            after={"state": row.state, "desired_state": row.desired_state},
        )
        forget_upstream(row)
        doomed = _put_aside(row.slug, folder)
        transaction.on_commit(ring)
        transaction.on_commit(lambda: _delete(doomed))
    return row


def _resolve(registration: Registration) -> tuple[str, dict[str, Any]]:
    """The slug and the columns of a source. Raises AppError INVALID_INPUT."""
    source = registration.source
    try:
        kind = kind_of(source)
        if kind is SourceKind.PATH:
            return _of_path(source.removeprefix("path:"), registration.name)
        if kind is SourceKind.REMOTE:
            raise SourceRefusedError("a remote model is registered with its upstream")
        own = slug_of(source)
    except (SourceRefusedError, PullError) as error:
        raise AppError(ErrorCode.INVALID_INPUT, f"source: {error}") from error
    if kind is SourceKind.WHEEL and registration.name not in (None, own):
        raise AppError(ErrorCode.INVALID_INPUT, f"name: {source} is always called '{own}'.")
    slug = registration.name or own
    return slug, {**_UNKNOWN, "source": source, "path": slug, "state": ModelState.ABSENT}


def _of_path(name: str, slug: str | None) -> tuple[str, dict[str, Any]]:
    stored = stored_at(settings.LLAMA.model_path, name)
    try:
        fields = fields_of(stored, read_facts(stored.path))
    except ModelFilesError as error:
        reason = str(error).replace(str(settings.LLAMA.model_path), "").lstrip("/")
        raise SourceRefusedError(f"cannot be served: {reason}") from error
    # A pulled folder that was deleted from the models and left on the disk is a path from now on.
    fields["source"] = f"path:{path_of(stored.path)}"
    return slug or stored.slug, fields


def _folder_of(row: Model) -> Path | None:
    """What holds the files of a model and nothing else. Raises AppError CONFLICT."""
    root: Path = settings.LLAMA.model_path
    if row.format == REMOTE_FORMAT:
        return None
    if not row.path or (root / "config.json").is_file():
        message = "The model root itself is this model: its files are deleted by hand."
        raise AppError(ErrorCode.CONFLICT, message)
    parts = PurePosixPath(row.path).parts
    # A hub's cache keeps the bytes beside its snapshots, and links to them.
    return root / parts[0] if parts[0].startswith(_HUB_CACHE) else root / row.path


def _put_aside(slug: str, folder: Path | None) -> list[Path]:
    """Rename what shall go, so that it is gone at once; all of it, or an error. Raises AppError."""
    if folder is None:
        return []
    root: Path = settings.LLAMA.model_path
    doomed: list[Path] = []
    try:
        for path in (folder, *root.glob(f".pull-{slug}-*")):
            if path.exists():
                aside = root / f".removed-{slug}-{secrets.token_hex(4)}"
                path.rename(aside)
                doomed.append(aside)
    except OSError as error:
        message = f"Its files cannot be deleted: {error.strerror or 'the disk refuses'}."
        raise AppError(ErrorCode.CONFLICT, message) from error
    return doomed


def _delete(doomed: list[Path]) -> None:
    for path in doomed:
        try:
            path.unlink() if path.is_file() else shutil.rmtree(path)
        except OSError as error:
            logger.warning("%s could not be deleted: %s", path, error)
