"""Plugins that installed distributions offer, located without importing anything of them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

GROUP = "llamagpu.plugins"


def entry_point_files() -> Iterator[tuple[str, Path | None, str]]:
    """Name, file or package folder, and why there is none, of each entry point; by name."""
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            path = _locate(entry.value.partition(":")[0].strip())
        except Exception as error:  # noqa: BLE001  finders are foreign code too
            yield entry.name, None, f"cannot be located: {error}"
            continue
        problem = "" if path else f"its module {entry.value} is not there"
        yield entry.name, path, problem


def _locate(module: str) -> Path | None:
    """Where `module` lies. Only the finders of its first part run: no package is imported for it."""
    first, *rest = module.split(".")
    spec = find_spec(first)
    if spec is None:
        return None
    if not rest:
        return _own_place(spec)
    for folder in spec.submodule_search_locations or ():
        place = Path(folder).joinpath(*rest)
        if (place / "__init__.py").is_file():
            return place
        if place.with_suffix(".py").is_file():
            return place.with_suffix(".py")
    return None


def _own_place(spec: ModuleSpec) -> Path | None:
    if spec.submodule_search_locations:
        place = Path(next(iter(spec.submodule_search_locations)))
        return place if (place / "__init__.py").is_file() else None
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
