"""Writes of remote models: registered, led elsewhere, given another key.

The key goes in and never comes out: not in answers, not in the audit log, not in a log line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import transaction

from inference.model_bell import ring
from inference.models import REMOTE_FORMAT, Model, Upstream
from inference.states import DesiredState, ModelState
from inference.upstream_models import (
    CAPABILITIES,
    DEFAULT_CAPABILITIES,
    DEFAULT_SILENCE,
    MAX_SILENCE,
)
from inference.upstreams import PREFIX, AddressRefusedError, BaseUrl, check_allowed
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.sealing import Sealer
from monitoring import audit
from monitoring.audit_actions import AuditAction

MAX_CONTEXT = 10_000_000
MAX_KEY = 4096
MAX_NAME = 255
_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_PURPOSE = "llamagpu upstream key"
_CHANGEABLE = ("base_url", "upstream_model", "silence", "capabilities")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A model to register. `slug` empty takes the upstream's name for it; `silence` is in seconds.

    `changes` are columns of the model such as `keep_alive`, checked.
    """

    base_url: str
    upstream_model: str
    context_length: int
    slug: str = ""
    key: str = ""
    silence: int = DEFAULT_SILENCE
    capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES
    changes: Mapping[str, Any] = field(default_factory=dict)


def register_remote(*, actor: Any, remote: RemoteModel) -> Model:
    """Add a model that its upstream computes; the first request, or a load, asks for it.

    Raises AppError: INVALID_INPUT, also for an address that is not allowed, and CONFLICT for a name
    that is taken.
    """
    slug = remote.slug or slug_of(remote.upstream_model)
    if not _SLUG.fullmatch(slug):
        raise _invalid("name", "must be 1 to 128 of a-z 0-9 . _ - and begin with a letter or digit")
    if not 1 <= remote.context_length <= MAX_CONTEXT:
        raise _invalid("context_length", f"must be between 1 and {MAX_CONTEXT}")
    fields = _checked(
        {
            "base_url": remote.base_url,
            "upstream_model": remote.upstream_model,
            "silence": remote.silence,
            "capabilities": remote.capabilities,
        }
    )
    fields["sealed_key"] = _sealed(remote.key)
    with transaction.atomic():
        model = _row(slug, remote)
        upstream = Upstream.objects.create(model=model, **fields)
        audit.record(
            actor=actor,
            action=AuditAction.MODEL_REGISTERED,
            target=model,
            data={"slug": slug},
            after={**_described(upstream), "context_length": model.context_length},
        )
        transaction.on_commit(ring)
    return model


@transaction.atomic
def change_upstream(*, actor: Any, model: Model, changes: Mapping[str, Any]) -> Upstream:
    """Set `base_url`, `upstream_model`, `silence`, `capabilities` or `key` (empty: none).

    The key stays with its address: whoever changes the address must give the key again, or it would
    be sent to whom it was not meant for. Running requests have some seconds to end. Raises AppError
    INVALID_INPUT, and NOT_FOUND for a model that is not remote.
    """
    upstream = Upstream.objects.select_for_update().filter(model=model).first()
    if upstream is None:
        raise AppError(ErrorCode.NOT_FOUND, f"'{model.slug}' has no upstream.")
    before = _described(upstream)
    fields = _checked({name: changes[name] for name in _CHANGEABLE if name in changes})
    is_moved = fields.get("base_url", upstream.base_url) != upstream.base_url
    if is_moved and upstream.has_key and "key" not in changes:
        raise _invalid("api_key", "must be given again with another address")
    for name, value in fields.items():
        setattr(upstream, name, value)
    if "key" in changes:
        upstream.sealed_key = _sealed(changes["key"])
    upstream.save()
    row = Model.objects.select_for_update().get(pk=model.pk)
    row.generation += 1
    row.source = PREFIX + upstream.upstream_model
    row.save(update_fields=["generation", "source", "updated_at"])
    audit.record(
        actor=actor,
        action=AuditAction.UPSTREAM_CHANGED,
        target=row,
        data={"slug": row.slug, "has_new_key": "key" in changes},
        before=before,
        after=_described(upstream),
    )
    transaction.on_commit(ring)
    return upstream


def forget_upstream(model: Model) -> None:
    """The model was removed: its address and its key go with it. Part of the remover's transaction."""
    Upstream.objects.filter(model=model).delete()


def open_key(upstream: Upstream) -> str:
    """The key in the clear, for the worker that sends it. Raises UnsealError."""
    return _sealer().unseal(upstream.sealed_key) if upstream.sealed_key else ""


def slug_of(upstream_model: str) -> str:
    """`org/Some-Model` becomes `some-model`; may be no valid name."""
    return re.sub(r"[^a-z0-9._-]+", "-", upstream_model.rpartition("/")[2].lower()).strip("-._")


def _row(slug: str, remote: RemoteModel) -> Model:
    """The model's row: a new one, or that of a model of this name that was removed."""
    model = Model.objects.select_for_update().filter(slug=slug).first() or Model(slug=slug)
    if model.pk and model.state != ModelState.REMOVED:
        raise AppError(ErrorCode.CONFLICT, f"name: there is a model '{slug}' already.")
    values = {
        "source": PREFIX + remote.upstream_model,
        "revision": "",
        "path": "",
        "state": ModelState.AVAILABLE,
        "architecture": REMOTE_FORMAT,
        "format": REMOTE_FORMAT,
        "stored_dtype": "",
        "num_parameters": 0,
        "weight_bytes": 0,
        "context_length": remote.context_length,
        "vocab_size": 0,
        "sha256": "",
        "desired_state": DesiredState.AUTOMATIC,
        "load_options": {},
        "is_enabled": True,
        "pull_error": "",
        "generation": model.generation + 1,
        **remote.changes,
    }
    for name, value in values.items():
        setattr(model, name, value)
    model.save()
    return model


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """The same fields as they are stored. Raises AppError INVALID_INPUT naming the field."""
    checked = dict(fields)
    if "base_url" in fields:
        try:
            url = BaseUrl.parse(fields["base_url"])
            check_allowed(url, settings.LLAMA.upstream_allow)
        except AddressRefusedError as error:
            raise _invalid("source", str(error)) from error
        checked["base_url"] = url.text
    if "upstream_model" in fields:
        name = fields["upstream_model"]
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise _invalid("upstream_model", f"must have 1 to {MAX_NAME} printable characters")
    if "silence" in fields and not 1 <= fields["silence"] <= MAX_SILENCE:
        raise _invalid("timeout", f"must be between 1 and {MAX_SILENCE} seconds")
    if "capabilities" in fields:
        checked["capabilities"] = _checked_capabilities(set(fields["capabilities"]))
    return checked


def _checked_capabilities(names: set[str]) -> list[str]:
    if unknown := names - set(CAPABILITIES):
        raise _invalid("capabilities", f"knows no '{min(unknown)}', only {', '.join(CAPABILITIES)}")
    if not names & {"chat", "completions", "embeddings"}:
        raise _invalid("capabilities", "needs chat, completions or embeddings")
    return [name for name in CAPABILITIES if name in names]


def _sealed(key: str) -> str:
    if len(key) > MAX_KEY or not all("!" <= char <= "~" for char in key):
        raise _invalid(
            "api_key", f"must be at most {MAX_KEY} printable ASCII characters, no spaces"
        )
    return _sealer().seal(key) if key else ""


def _sealer() -> Sealer:
    return Sealer([settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS], _PURPOSE)


def _described(upstream: Upstream) -> dict[str, Any]:
    """What the audit log says of an upstream."""
    return {
        "base_url": upstream.base_url,
        "upstream_model": upstream.upstream_model,
        "silence": upstream.silence,
        "capabilities": upstream.capabilities,
        "has_key_set": upstream.has_key,
    }


def _invalid(field: str, message: str) -> AppError:
    return AppError(
        ErrorCode.INVALID_INPUT,
        f"{field}: {message}.",
        details=[{"field": field, "message": message}],
    )
