"""Where a model may come from, by the prefix of its source: `hub:`, `wheel:`, `path:`, `remote:`.

A pulled source is fetched by a worker, a path lies under the model root already, and a remote one is
computed elsewhere (`inference.upstreams`).
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path, PurePosixPath

from inference.model_store import StoredModel, gguf_of
from inference.models import Model
from inference.pulling.sources import HubSource, find_source


class SourceKind(StrEnum):
    HUB = "hub"
    WHEEL = "wheel"
    PATH = "path"
    REMOTE = "remote"

    @property
    def is_pulled(self) -> bool:
        return self in (SourceKind.HUB, SourceKind.WHEEL)


class SourceRefusedError(ValueError):
    """A source that cannot be used; the message says why, and names nothing outside the root."""


def kind_of(source: str) -> SourceKind:
    """Raises SourceRefusedError."""
    prefix, colon, rest = source.partition(":")
    if not colon or not rest or prefix not in list(SourceKind):
        raise SourceRefusedError(
            "must be hub:org/name@revision, wheel:name==version, path:folder or remote:https://…"
        )
    return SourceKind(prefix)


def is_pulled(model: Model) -> bool:
    """Whether its files were fetched by us, and may be fetched again."""
    try:
        return kind_of(model.source).is_pulled
    except SourceRefusedError:
        return False


def slug_of(source: str) -> str:
    """The name of a pulled model where nobody chooses one. Raises PullError."""
    found = find_source(source)
    return found.slug if isinstance(found, HubSource) else found.model


def stored_at(root: Path, name: str) -> StoredModel:
    """The folder or GGUF file that `path:name` means, surely inside `root`.

    Raises SourceRefusedError, with the same words for what is outside and for what is not there.
    """
    plain = PurePosixPath(name)
    missing = SourceRefusedError(f"there is no model '{name[:128]}' under the model root")
    if "\\" in name or "\0" in name or plain.is_absolute():
        raise missing
    if not plain.parts or any(part.startswith(".") for part in plain.parts):
        raise missing
    target = root.joinpath(*plain.parts)
    try:
        inside = root.resolve(strict=True)
        found = target.resolve(strict=True)
        files = [found, *(found.iterdir() if found.is_dir() else ())]
        if not all(file.resolve(strict=True).is_relative_to(inside) for file in files):
            raise missing  # a link leads out
    except (OSError, RuntimeError) as error:
        raise missing from error
    is_model = (target / "config.json").is_file() or target.suffix.lower() == ".gguf"
    if not is_model and not (target.is_dir() and gguf_of(target)):
        raise missing
    return StoredModel(plain.name.removesuffix(".gguf"), target)
