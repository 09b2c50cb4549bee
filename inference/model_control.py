"""Writes of models: which shall be loaded, how, and for how long.

Each writes the row and its audit entry in one transaction and rings for the workers, who bring their
engines in step (`inference.worker.reconciler`). What became of it: `inference.model_progress`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from inference.load_options import LoadOptions
from inference.model_bell import ring
from inference.models import FOR_EVER, Model
from inference.room import check_room, has_failed_engine
from inference.states import DesiredState, ModelState
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.audit_actions import AuditAction
from monitoring.configuration import current

#: About 68 years: more would overflow the column.
MAX_KEEP_ALIVE = 2**31 - 1
_LIMITS = ("max_model_len", "max_running", "max_new_tokens", "replicas")
_CHANGEABLE = ("is_enabled", "is_pinned", "keep_alive", *_LIMITS)
# What an engine takes up when it is loaded: another value needs another engine.
_OF_ENGINES = ("max_model_len", "max_running")
#: The highest value of each limit.
MAX_LIMITS = {
    "max_model_len": 10_000_000,
    "max_running": 1024,
    "max_new_tokens": 1_000_000,
    "replicas": 1024,
}


def load_model(
    *,
    actor: Any,
    model: Model,
    options: LoadOptions | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Model:
    """Have every worker load `model` and bring it back when its engine dies.

    `options` say how, all of them: what is not given follows the configuration. An engine that runs
    with other ones is replaced, one that has failed is tried again at once. `changes` may set
    what `change_model` sets besides.

    Raises AppError: CONFLICT for a disabled model, MODEL_NOT_FOUND for one that is not on the disk,
    NO_WORKER, INSUFFICIENT_MEMORY where it will fit no worker, BACKEND_UNAVAILABLE where no worker
    has the backend or Redis is away, INVALID_INPUT.
    """
    chosen = options or LoadOptions()
    _check_is_here(model)
    check_room(model, chosen)
    has_failed = has_failed_engine(model)
    with transaction.atomic():
        row = _locked(model)
        _check_is_here(row)
        if not row.is_enabled:
            raise AppError(ErrorCode.CONFLICT, f"'{row.slug}' is disabled: enable it first.")
        before = _control_of(row)
        needs_engine = _set(row, changes or {})
        if needs_engine or has_failed or row.load_options != chosen.as_row():
            row.load_options = chosen.as_row()
            row.generation += 1
        row.desired_state = DesiredState.READY
        _save(row, actor, AuditAction.MODEL_LOADED, before)
    return row


@transaction.atomic
def unload_model(*, actor: Any, model: Model) -> Model:
    """Have every worker end its engine of `model` and give the memory back.

    Running requests have some seconds to end, those cut off begin again. A request that comes later
    loads the model once more: to prevent that, disable it.
    """
    row = _locked(model)
    before = _control_of(row)
    row.desired_state = DesiredState.UNLOADED
    row.generation += 1
    _save(row, actor, AuditAction.MODEL_UNLOADED, before)
    return row


@transaction.atomic
def change_model(*, actor: Any, model: Model, changes: Mapping[str, Any]) -> Model:
    """Set `is_enabled`, `is_pinned`, `keep_alive` (seconds, -1 for ever, None for the default), a limit
    (`max_model_len`, `max_running`, `max_new_tokens`) or `replicas`; None is no limit.

    Disabling ends the model's engines; enabling loads nothing. Engines are replaced where a limit is
    theirs. Raises AppError INVALID_INPUT, and CONFLICT for disabling the default model.
    """
    row = _locked(model)
    before = _control_of(row)
    was_enabled = row.is_enabled
    if _set(row, changes):
        row.generation += 1
    if was_enabled and not row.is_enabled:
        if row.slug == current().default_model:
            message = f"'{row.slug}' is the default model: name another one before disabling it."
            raise AppError(ErrorCode.CONFLICT, message)
        row.desired_state = DesiredState.UNLOADED
        row.generation += 1
    if _control_of(row) == before:
        return row
    _save(row, actor, AuditAction.MODEL_CHANGED, before)
    return row


@transaction.atomic
def forget_idle_model(*, slug: str, generation: int) -> None:
    """A worker has unloaded a model that nobody used: nobody wants it loaded any more.

    Nothing happens where something else was wanted meanwhile.
    """
    row = _as_wanted(slug, generation)
    if row is not None:
        _forget(row, {"reason": "idle"})


@transaction.atomic
def note_eviction(*, slug: str, generation: int, idle_for: float, made_room_for: str) -> None:
    """A worker unloads a model for want of memory: it is not wanted any more, and the log says why.

    What was wanted meanwhile stays. `idle_for` is in seconds.
    """
    reason = {"reason": "memory", "idle_for": round(idle_for), "made_room_for": made_room_for}
    row = _as_wanted(slug, generation)
    if row is not None:
        _forget(row, reason)
    elif (model := Model.objects.filter(slug=slug).first()) is not None:
        data = {"slug": slug, **reason}
        audit.record(actor=None, action=AuditAction.MODEL_UNLOADED, target=model, data=data)


def _as_wanted(slug: str, generation: int) -> Model | None:
    """The row of a model that somebody wants loaded, as that worker knows it."""
    rows = Model.objects.select_for_update()
    return rows.filter(slug=slug, generation=generation, desired_state=DesiredState.READY).first()


def _forget(row: Model, reason: Mapping[str, Any]) -> None:
    before = _control_of(row)
    row.desired_state = DesiredState.AUTOMATIC
    row.save(update_fields=["desired_state", "updated_at"])
    audit.record(
        actor=None,
        action=AuditAction.MODEL_UNLOADED,
        target=row,
        data={"slug": row.slug, **reason},
        before=before,
        after=_control_of(row),
    )


def _check_is_here(model: Model) -> None:
    if model.state != ModelState.AVAILABLE:
        raise AppError(ErrorCode.MODEL_NOT_FOUND, f"The files of '{model.slug}' are not there.")


def _locked(model: Model) -> Model:
    """The row as it is now, until the end of the transaction."""
    return Model.objects.select_for_update().get(pk=model.pk)


def _set(row: Model, changes: Mapping[str, Any]) -> bool:
    """Whether engines of before do not fit any more. Raises AppError INVALID_INPUT."""
    before = [getattr(row, name) for name in _OF_ENGINES]
    for name, value in changes.items():
        if name not in _CHANGEABLE:
            raise ValueError(f"{name} is not changed through here")
        setattr(row, name, value)
    seconds = row.keep_alive
    if seconds is not None and not FOR_EVER <= seconds <= MAX_KEEP_ALIVE:
        raise AppError(
            ErrorCode.INVALID_INPUT,
            f"keep_alive: must be seconds, {FOR_EVER} for ever, or null for the default.",
        )
    for name, most in MAX_LIMITS.items():
        value = getattr(row, name)
        if value is not None and not 1 <= value <= most:
            raise AppError(
                ErrorCode.INVALID_INPUT, f"{name}: must be 1 to {most}, or null for no limit."
            )
    return before != [getattr(row, name) for name in _OF_ENGINES]


def _save(row: Model, actor: Any, action: AuditAction, before: dict[str, Any]) -> None:
    names = [*_CHANGEABLE, "desired_state", "load_options", "generation", "updated_at"]
    row.save(update_fields=names)
    audit.record(
        actor=actor,
        action=action,
        target=row,
        data={"slug": row.slug},
        before=before,
        after=_control_of(row),
    )
    transaction.on_commit(ring)


def _control_of(row: Model) -> dict[str, Any]:
    """What the audit log says of a model."""
    return {
        "enabled": row.is_enabled,
        "pinned": row.is_pinned,
        "keep_alive": row.keep_alive,
        "desired_state": row.desired_state,
        "load_options": row.load_options,
        **{name: getattr(row, name) for name in _LIMITS},
    }
