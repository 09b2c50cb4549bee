"""Plugins that Admins upload: taken whole or not at all, disabled until somebody approves them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from django.db import transaction

from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Action, Resource
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.audit_actions import AuditAction
from plugins_app.archive import ArchiveError, read_archive
from plugins_app.discovery import Candidate
from plugins_app.manifest import ManifestError, read_manifest
from plugins_app.models import Plugin
from plugins_app.services.changes import locked, raise_generation, tell
from plugins_app.services.scanning import take_up
from plugins_app.spec import Tier
from plugins_app.upload_folder import (
    folder_of,
    is_uploaded,
    one_at_a_time,
    put_in_place,
    unpacked,
)

#: Bytes of an archive: what every installation takes as a body, whatever its settings.
MAX_ARCHIVE = 1024 * 1024


def upload_plugin(*, actor: Any, content: bytes, replace: bool = False) -> Plugin:
    """Keep the plugin of an archive. It is disabled, and waits for approval.

    `replace` allows for one that was uploaded before. Raises AppError INVALID_INPUT for what is no
    plugin, CONFLICT for a name that is taken, BACKEND_UNAVAILABLE where the disk is full,
    PERMISSION_DENIED for who is no Admin.
    """
    _check_admin(actor)
    if len(content) > MAX_ARCHIVE:
        raise AppError(ErrorCode.CONTENT_TOO_LARGE, f"file: Is larger than {MAX_ARCHIVE} bytes.")
    try:
        slug, files = read_archive(content)
    except ArchiveError as error:
        raise _invalid(str(error)) from error
    with unpacked(slug, files) as folder:
        try:
            read_manifest(folder)
        except ManifestError as error:
            raise _invalid(str(error)) from error
        with one_at_a_time(), transaction.atomic():
            _check_free(slug, replace=replace)
            with put_in_place(folder, slug):
                row = _registered(slug, actor, content)
    return row


def delete_plugin(*, actor: Any, plugin: Plugin) -> None:
    """Remove an uploaded plugin with its files, settings and history. Where it runs, it is ended.

    Raises AppError CONFLICT for one that was not uploaded, PERMISSION_DENIED for who is no Admin.
    """
    _check_admin(actor)
    with one_at_a_time(), transaction.atomic():
        row = locked(plugin)
        if not is_uploaded(row.path):
            raise AppError(
                ErrorCode.CONFLICT,
                f"'{row.slug}' was not uploaded: it goes when its files are taken away.",
            )
        with put_in_place(None, row.slug):
            audit.record(
                actor=actor,
                action=AuditAction.PLUGIN_REMOVED,
                target=row,
                data={"slug": row.slug, "version": row.version, "sha256": row.sha256},
            )
            tell(AuditAction.PLUGIN_REMOVED, {"plugin": row.slug})
            row.delete()
            raise_generation()


def _registered(slug: str, actor: Any, content: bytes) -> Plugin:
    Plugin.objects.filter(slug=slug).update(is_enabled=False)
    row = take_up(Candidate(slug, Tier.USER, folder_of(slug)), actor=actor)
    audit.record(
        actor=actor,
        action=AuditAction.PLUGIN_UPLOADED,
        target=row,
        data={
            "slug": slug,
            "version": row.version,
            "bytes": len(content),
            "archive_sha256": hashlib.sha256(content).hexdigest(),
        },
    )
    return row


def _check_free(slug: str, *, replace: bool) -> None:
    row = Plugin.objects.select_for_update().filter(slug=slug).first()
    is_there = row is not None and (bool(row.sha256) or Path(row.path).exists())
    if not is_there and not folder_of(slug).exists():
        return
    if row is not None and not is_uploaded(row.path):
        raise AppError(ErrorCode.CONFLICT, f"There is a plugin '{slug}' that was not uploaded.")
    if not replace:
        raise AppError(
            ErrorCode.CONFLICT, f"There is a plugin '{slug}' already: replace=true takes its place."
        )


def _check_admin(actor: Any) -> None:
    """To bring code to the server takes the right to write the system's configuration too."""
    if actor is not None and not actor.can(Resource.SYSTEM_CONFIG, Action.WRITE):
        raise AppError(ErrorCode.PERMISSION_DENIED, "Only Admins upload and delete plugins.")


def _invalid(message: str) -> AppError:
    return AppError(
        ErrorCode.INVALID_INPUT,
        f"file: {message}.",
        details=[{"field": "file", "message": message}],
    )
