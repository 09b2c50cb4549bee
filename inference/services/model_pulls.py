"""Writes of pulls: asked for, called off, ended. Workers run them (`inference.worker.puller`)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import transaction

from inference.catalog import fields_of
from inference.model_bell import ring
from inference.model_sources import is_pulled
from inference.model_store import StoredModel, read_facts
from inference.models import Model
from inference.pulling.manifest import is_intact
from inference.room import live
from inference.states import ModelState
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.audit_actions import AuditAction, Outcome

_MAX_ERROR = 500


def start_pull(*, actor: Any, model: Model) -> Model:
    """Have a worker fetch what is missing of a model; what is here and whole stays as it is.

    A pull that is under way is the same pull. Raises AppError CONFLICT for a model that was not
    fetched from anywhere, NO_WORKER, BACKEND_UNAVAILABLE.
    """
    if not is_pulled(model):
        message = f"'{model.slug}' comes from {model.source}: there is nothing to fetch."
        raise AppError(ErrorCode.CONFLICT, message)
    if not live():
        raise AppError(
            ErrorCode.NO_WORKER,
            "No worker is running that could fetch it. It may be starting: try again shortly.",
            retry_after=5,
        )
    with transaction.atomic():
        row = _locked(model)
        if row.state == ModelState.DOWNLOADING or is_whole(row):
            return row
        row.state, row.pull_error = ModelState.DOWNLOADING, ""
        _save(row, actor, AuditAction.MODEL_PULL_STARTED)
    return row


def cancel_pull(*, actor: Any, model: Model) -> Model:
    """End a pull. What it has fetched stays: the next one goes on from there.

    Raises AppError CONFLICT where none is under way.
    """
    with transaction.atomic():
        row = _locked(model)
        if row.state != ModelState.DOWNLOADING:
            raise AppError(ErrorCode.CONFLICT, f"'{row.slug}' is not being pulled.")
        row.state = ModelState.ABSENT
        _save(row, actor, AuditAction.MODEL_PULL_CANCELLED)
    return row


def is_whole(row: Model) -> bool:
    """Available, and every file of its manifest is there in its size."""
    folder = settings.LLAMA.model_path / row.path
    return row.state == ModelState.AVAILABLE and is_intact(folder)


def note_commit(*, slug: str, commit: str) -> None:
    """What the revision stands for, from now on: a pull that begins again takes the same bytes."""
    rows = Model.objects.filter(slug=slug, state=ModelState.DOWNLOADING)
    rows.update(revision=commit)


def note_pulled(*, slug: str) -> Model | None:
    """A worker has brought the model; None where nobody wants it any more.

    Raises ModelFilesError where what it has brought cannot be read.
    """
    with transaction.atomic():
        row = _wanted(slug)
        if row is None:
            return None
        stored = StoredModel(slug, settings.LLAMA.model_path / row.path)
        source = row.source
        for name, value in fields_of(stored, read_facts(stored.path)).items():
            setattr(row, name, value)
        row.source = source
        data = {"revision": row.revision, "sha256": row.sha256, "bytes": row.weight_bytes}
        _save(row, None, AuditAction.MODEL_PULLED, data)
    return row


def note_pull_failed(*, slug: str, reason: str) -> None:
    """A worker could not bring the model; the next pull goes on from what it has fetched."""
    with transaction.atomic():
        row = _wanted(slug)
        if row is None:
            return
        # Everybody who sees models reads it: they know no folders of this machine.
        reason = reason.replace(str(settings.LLAMA.model_path), "the model root")
        row.state, row.pull_error = ModelState.ABSENT, reason[:_MAX_ERROR]
        data = {"reason": row.pull_error}
        _save(row, None, AuditAction.MODEL_PULLED, data, outcome=Outcome.FAILED)


def _locked(model: Model) -> Model:
    return Model.objects.select_for_update().get(pk=model.pk)


def _wanted(slug: str) -> Model | None:
    rows = Model.objects.select_for_update()
    return rows.filter(slug=slug, state=ModelState.DOWNLOADING).first()


def _save(
    row: Model,
    actor: Any,
    action: AuditAction,
    data: dict[str, Any] | None = None,
    outcome: Outcome = Outcome.DONE,
) -> None:
    row.save()
    audit.record(
        actor=actor,
        action=action,
        target=row,
        data={"slug": row.slug, "source": row.source, **(data or {})},
        outcome=outcome,
    )
    transaction.on_commit(ring)
