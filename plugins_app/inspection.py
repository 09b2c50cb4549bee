"""What a plugin's files say, and what is wrong with them: read, checked and digested, never run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from plugins_app.dependencies import missing_dependencies
from plugins_app.discovery import Candidate
from plugins_app.fingerprint import FingerprintError, fingerprint
from plugins_app.manifest import Manifest, ManifestError, read_manifest

logger = logging.getLogger(__name__)

#: Longest path that is kept.
MAX_PATH = 1000
_MAX_PROBLEM = 1000


@dataclass(frozen=True, slots=True)
class Findings:
    """`facts` are columns of the plugin's row, fewer where its file cannot be read."""

    slug: str
    problem: str
    facts: dict[str, Any] = field(default_factory=dict)


def inspect(candidate: Candidate, backends: Sequence[str]) -> Findings:
    """`backends` are those of this machine."""
    path = str(candidate.path).encode("utf-8", "backslashreplace").decode()
    facts: dict[str, Any] = {
        "tier": candidate.tier.value,
        "path": path[:MAX_PATH],
        "sha256": "",
    }
    problem = candidate.problem or ("its path is too long" if len(path) > MAX_PATH else "")
    if not problem:
        try:
            # Digested first: what changes meanwhile has another digest when it is loaded.
            facts["sha256"] = fingerprint(candidate.path)
            manifest = read_manifest(candidate.path)
            facts |= _columns(manifest)
            problem = _unmet(manifest, backends)
        except (FingerprintError, ManifestError) as error:
            problem = str(error)
        except (
            Exception
        ) as error:  # foreign files: one that nobody foresaw must not hide the others
            logger.exception("the plugin '%s' could not be inspected", candidate.slug)
            problem = f"file: could not be inspected: {type(error).__name__}"
    return Findings(candidate.slug, problem[:_MAX_PROBLEM], facts)


def _columns(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "author": manifest.author,
        "description": manifest.description,
        "category": manifest.category.value,
        "settings_schema": manifest.settings_schema,
        "metadata": {
            "dependencies": list(manifest.dependencies),
            "compatibility": list(manifest.compatibility),
            "hooks": [hook.value for hook in manifest.hooks],
            "api_version": manifest.api_version,
            "class": manifest.class_name,
        },
    }


def _unmet(manifest: Manifest, backends: Sequence[str]) -> str:
    if missing := missing_dependencies(manifest.dependencies):
        return f"dependencies: not met here: {', '.join(missing)}"
    if not set(manifest.compatibility) & set(backends):
        needed = ", ".join(manifest.compatibility)
        return f"compatibility: it needs {needed}; this machine has {', '.join(backends)}"
    return ""
