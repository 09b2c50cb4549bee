"""Finds plugins: files and packages in folders, and entry points of installed distributions.

Nothing is imported. What cannot be a plugin is found too, with the reason: one broken file never
keeps the others from being found.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from plugins_app.entry_points import entry_point_files
from plugins_app.spec import Tier

BUILT_IN = Path(__file__).resolve().parent
#: Addresses of the API that stand where a plugin's name stands.
RESERVED = frozenset({"scan", "order", "upload"})
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
#: A folder that holds more is no folder of plugins.
MAX_ENTRIES = 500


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may be a plugin. `problem` says why it cannot be one, whatever stands in its file."""

    slug: str
    tier: Tier
    path: Path
    problem: str = ""


def find_candidates(folders: Sequence[Path], uploads: Path) -> list[Candidate]:
    """All of them, each slug once: what comes first keeps it.

    The built-in folder comes first, then `folders` in their order, then `uploads`, then entry points.
    """
    found: dict[str, Candidate] = {}
    for candidate in _all(folders, uploads):
        if candidate.slug in found and not candidate.problem:
            first = found[candidate.slug].path
            candidate = replace(candidate, problem=f"another plugin has this name: {first}")
        if candidate.problem:
            candidate = replace(candidate, slug=_free_slug(candidate))
        found[candidate.slug] = candidate
    return list(found.values())


def is_valid_slug(slug: str) -> bool:
    return SLUG.fullmatch(slug) is not None and slug not in RESERVED


def roots(folders: Sequence[Path], uploads: Path) -> Iterator[tuple[Tier, Path, bool]]:
    """Each folder that may hold plugins: its tier, where it is, whether this tier belongs there."""
    for tier in Tier:
        yield tier, BUILT_IN / tier, True
    for folder in folders:
        for tier in Tier:
            yield tier, folder / tier, tier is not Tier.CORE
    yield Tier.USER, uploads, True


def _all(folders: Sequence[Path], uploads: Path) -> Iterator[Candidate]:
    for tier, root, belongs_there in roots(folders, uploads):
        for candidate in _in_folder(tier, root):
            if belongs_there or candidate.problem:
                yield candidate
            else:
                yield replace(candidate, problem="core plugins come with the portal alone")
    for name, file, problem in entry_point_files():
        yield _named(name, Tier.COMMUNITY, file or Path(name), problem)


def _in_folder(tier: Tier, root: Path) -> Iterator[Candidate]:
    try:
        names = sorted(path.name for path in root.iterdir())
        real_root = root.resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        yield Candidate(root.name, tier, root, f"cannot be read: {error.strerror or error}")
        return
    if len(names) > MAX_ENTRIES:
        yield Candidate(root.name, tier, root, f"holds more than {MAX_ENTRIES} entries")
        return
    for name in names:
        if name.startswith(("_", ".")):
            continue
        path = root / name
        if problem := _place_problem(path, real_root):
            yield _named(_stem(name), tier, path, problem)
        elif path.is_dir():
            if (path / "__init__.py").is_file():
                yield _named(name, tier, path, "")
        elif name.endswith(".py"):
            yield _named(_stem(name), tier, path, "")


def _place_problem(path: Path, root: Path) -> str:
    """Why an entry of a folder leads elsewhere, or an empty text."""
    if not path.is_symlink():
        return ""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "is a link that leads nowhere"
    return "" if target.is_relative_to(root) else "is a link that leads out of its folder"


def _named(name: str, tier: Tier, path: Path, problem: str) -> Candidate:
    if not _is_unicode(path):
        return Candidate(name, tier, path, "its path is not UTF-8")
    if problem or is_valid_slug(name):
        return Candidate(name, tier, path, problem)
    rule = "may hold only a-z 0-9 _ - and begin with a letter or digit, at most 63"
    is_taken = name in RESERVED
    return Candidate(name, tier, path, "its name is reserved" if is_taken else f"its name {rule}")


def _is_unicode(path: Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _stem(name: str) -> str:
    return name.removesuffix(".py")


def _free_slug(candidate: Candidate) -> str:
    """A slug that no sound plugin can have, the same at each scan."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", candidate.slug.lower()).strip("-_")[:48]
    place = hashlib.sha256(os.fsencode(candidate.path)).hexdigest()[:8]
    return f"{plain or 'plugin'}.{place}"
