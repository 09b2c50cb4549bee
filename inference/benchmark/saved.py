"""Reports that were kept: `manage.py bench --save` writes them, the portal and the API show them."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

#: Reports that stay; saving another one removes the oldest.
MAX_REPORTS = 50
# No report of ours is longer; a file that is was not written by us.
_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SavedReport:
    """`name` is its moment in UTC, such as 20261129T161500Z."""

    name: str
    created_at: datetime
    content: dict[str, Any]


def save_report(folder: Path, content: dict[str, Any]) -> Path:
    """Keep a report whole or not at all. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(tz=UTC):%Y%m%dT%H%M%SZ}.json"
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content))
    draft.replace(path)
    for old in sorted(folder.glob("*.json"))[:-MAX_REPORTS]:
        old.unlink(missing_ok=True)
    return path


def saved_reports(folder: Path) -> list[SavedReport]:
    """The newest first; what cannot be read is left out and logged."""
    found = (_read(path) for path in sorted(folder.glob("*.json"), reverse=True)[:MAX_REPORTS])
    return [report for report in found if report is not None]


def _read(path: Path) -> SavedReport | None:
    try:
        created_at = datetime.strptime(path.stem, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too long")
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        logger.warning("the benchmark report %s cannot be shown: %s", path.name, error)
        return None
    return SavedReport(path.stem, created_at, content)
