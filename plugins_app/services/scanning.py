"""Keeps the table of plugins in step with the folders: what is new, changed, broken or gone.

A row follows its files; what people wish of the plugin stays, however often its files come and go.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import transaction

from monitoring import audit
from monitoring.audit_actions import AuditAction
from monitoring.collectors.gpu import GpuReader
from monitoring.configuration import current
from plugins_app.dependencies import backends_present
from plugins_app.discovery import Candidate, find_candidates
from plugins_app.inspection import Findings, inspect
from plugins_app.models import Plugin
from plugins_app.sealed_settings import carry_over
from plugins_app.services.changes import (
    control_of,
    raise_generation,
    save_change,
    settle,
    tell,
)
from plugins_app.settings_schema import secret_names

logger = logging.getLogger(__name__)

_gpus = GpuReader()


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Slugs of what is new, changed or gone since the last scan; why others cannot be loaded."""

    num_found: int = 0
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)


def scan_plugins(*, actor: Any = None) -> ScanResult:
    """Look through all folders and entry points. Nothing found is run, nothing broken ends the scan.

    A plugin whose files have changed waits for approval again, and runs nowhere meanwhile.
    """
    config, backends = settings.LLAMA, _backends()
    found = [
        inspect(candidate, backends)
        for candidate in find_candidates(config.plugin_paths, config.plugins_dir)
    ]
    result = ScanResult(num_found=len(found))
    with transaction.atomic():
        rows = {row.slug: row for row in Plugin.objects.select_for_update().order_by("pk")}
        for findings in found:
            _take_up(rows.pop(findings.slug, None), findings, actor, result)
        for row in rows.values():
            _let_go(row, actor, result)
    for slug, problem in result.rejected.items():
        logger.warning("the plugin '%s' cannot be used: %s", slug, problem)
    return result


def take_up(candidate: Candidate, *, actor: Any) -> Plugin:
    """The row of one plugin whose files have just come. Part of the caller's transaction."""
    row = Plugin.objects.select_for_update().filter(slug=candidate.slug).first()
    _take_up(row, inspect(candidate, _backends()), actor, ScanResult())
    return Plugin.objects.get(slug=candidate.slug)


def _backends() -> tuple[str, ...]:
    return backends_present(current().backend, has_nvidia=bool(_gpus.read()))


def _take_up(row: Plugin | None, findings: Findings, actor: Any, result: ScanResult) -> None:
    if findings.problem:
        result.rejected[findings.slug] = findings.problem
    if row is None:
        # Another process may have found it at the same moment.
        row, is_new = Plugin.objects.get_or_create(
            slug=findings.slug, defaults={"name": findings.slug, **findings.facts}
        )
        if is_new:
            _update(row, findings)
            _save_found(row, findings, actor, AuditAction.PLUGIN_DISCOVERED)
            result.added.append(row.slug)
            return
    before = {name: getattr(row, name) for name in (*findings.facts, "problem", "state")}
    control, sha256 = control_of(row), row.sha256
    _update(row, findings)
    if all(getattr(row, name) == value for name, value in before.items()):
        return
    is_changed = row.sha256 != sha256
    action = AuditAction.PLUGIN_FILES_CHANGED if is_changed else AuditAction.PLUGIN_CHANGED
    save_change(row, actor=actor, action=action, before=control)
    result.changed.append(row.slug)


def _update(row: Plugin, findings: Findings) -> None:
    if "settings_schema" in findings.facts:
        hidden = secret_names(row.settings_schema)
        row.config = carry_over(row.config, hidden, findings.facts["settings_schema"])
    for name, value in findings.facts.items():
        setattr(row, name, value)
    row.problem = findings.problem
    settle(row)


def _save_found(row: Plugin, findings: Findings, actor: Any, action: AuditAction) -> None:
    if findings.problem:
        action = AuditAction.PLUGIN_REJECTED
    save_change(row, actor=actor, action=action)


def _let_go(row: Plugin, actor: Any, result: ScanResult) -> None:
    """Files that are gone: what somebody had to do with is kept, for they may come back."""
    if row.approved_sha256 or row.is_enabled or row.settings_history.exists():
        problem = "its files are not there any more"
        if row.problem == problem:
            return
        before = control_of(row)
        row.problem, row.sha256 = problem, ""
        settle(row)
        save_change(row, actor=actor, action=AuditAction.PLUGIN_VANISHED, before=before)
        result.rejected[row.slug] = problem
    else:
        audit.record(
            actor=actor,
            action=AuditAction.PLUGIN_VANISHED,
            target=row,
            data={"slug": row.slug},
        )
        tell(AuditAction.PLUGIN_VANISHED, {"plugin": row.slug})
        raise_generation()
        row.delete()
    result.gone.append(row.slug)
