"""Whether a plugin can run here: what it needs against what is installed. Nothing is installed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import InvalidVersion


def missing_dependencies(requirements: Iterable[str]) -> list[str]:
    """Each requirement that is not met, with what is there instead."""
    return [
        problem for text in requirements if (problem := _problem(Requirement(text))) is not None
    ]


def backends_present(configured: str, *, has_nvidia: bool) -> tuple[str, ...]:
    """What this machine may compute with; `configured` is LLAMA_BACKEND.

    What a model really runs on is decided where it is loaded.
    """
    if configured != "auto":
        return (configured,)
    has_amd = Path("/dev/kfd").exists()
    found = (("cuda", has_nvidia), ("rocm", has_amd), ("cpu", True))
    return tuple(name for name, is_there in found if is_there)


def _problem(requirement: Requirement) -> str | None:
    try:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            return None
    except ValueError as error:  # what it compares cannot be compared
        return f"{requirement} ({error})"
    try:
        installed = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement} (not installed)"
    try:
        is_met = requirement.specifier.contains(installed, prereleases=True)
    except InvalidVersion:
        is_met = False
    return None if is_met else f"{requirement} (installed: {installed})"
