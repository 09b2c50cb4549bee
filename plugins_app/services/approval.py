"""Somebody has read a plugin's files and lets them run: the digest of what was read is kept."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring.audit_actions import AuditAction
from plugins_app.fingerprint import FingerprintError, fingerprint
from plugins_app.models import Plugin
from plugins_app.services.changes import control_of, files_problem, locked, save_change, settle


@transaction.atomic
def approve_plugin(*, actor: Any, plugin: Plugin, sha256: str) -> Plugin:
    """Let the files run that have this digest. One that is enabled runs again at once.

    Raises AppError CONFLICT where the files are others by now, where something is wrong with them, and
    for core plugins, which need no approval.
    """
    row = locked(plugin)
    if row.is_core:
        raise _conflict(f"'{row.slug}' came with the portal: it needs no approval.")
    if wrong := files_problem(row):
        raise _conflict(f"'{row.slug}' cannot be approved: {wrong}")
    if not hmac.compare_digest(_digest(row), sha256.lower()):
        raise _conflict(
            f"sha256: the files of '{row.slug}' are others by now: look at them again, then approve."
        )
    if row.is_approved:
        return row
    before = control_of(row)
    row.sha256 = row.approved_sha256 = sha256.lower()
    row.approved_by = actor
    row.approved_at = timezone.now()
    settle(row)
    save_change(row, actor=actor, action=AuditAction.PLUGIN_APPROVED, before=before)
    return row


def _digest(row: Plugin) -> str:
    """Of the files as they are now, where they still are those that were scanned."""
    try:
        now = fingerprint(Path(row.path))
    except FingerprintError as error:
        raise _conflict(f"'{row.slug}' cannot be approved: {error}") from error
    return now if now == row.sha256 else ""


def _conflict(message: str) -> AppError:
    return AppError(ErrorCode.CONFLICT, message)
