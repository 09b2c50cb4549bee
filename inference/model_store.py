"""Which models a model root holds, in which form and revision (no torch).

Four forms are known: a plain folder (`name/config.json`), a GGUF file (`name.gguf`), a folder with
one GGUF file in it, and the Hugging Face cache (`models--org--name/snapshots/<revision>`, of which
several revisions may lie beside each other). A plain folder's revision is what its `manifest.json`
says of its source.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.gguf_files import SUFFIX, is_gguf, read_gguf_files
from inference.model_files import ModelFiles, ModelFilesError, read_model_files

MANIFEST = "manifest.json"
_HUB_PREFIX = "models--"
_SHORT = 12


@dataclass(frozen=True, slots=True)
class StoredModel:
    """One revision of one model. `path` is a model folder or a GGUF file.

    `model_id` is its name under the root, `org/name` for the Hugging Face layout. `revisions` are
    all that are there, the served one first.
    """

    model_id: str
    path: Path
    revision: str = ""
    revisions: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """The name in URLs and in the table of models."""
        return self.model_id.lower().replace("/", "--")


def list_models(root: Path) -> list[StoredModel]:
    """The default revision of every model under `root`, by slug; `root` may be a model itself.

    What is no model is listed too, so that reading it can say why. Raises ModelFilesError where the
    root cannot be read.
    """
    if is_gguf(root) or (root / "config.json").is_file():
        return [_plain(root.stem if is_gguf(root) else root.name, root)]
    if not root.is_dir():
        return []
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise ModelFilesError(f"{root}: cannot be read: {error.strerror or error}") from error
    found = [_entry(path) for path in entries if not path.name.startswith(".")]
    return sorted((model for model in found if model), key=lambda model: model.slug)


def find_model(root: Path, model_id: str) -> StoredModel:
    """The model `model_id` under `root`, as `name`, slug, `org/name` or with `@revision` behind.

    A revision may be shortened as long as it names one. Raises ModelFilesError.
    """
    models = list_models(root)
    name, _, revision = model_id.rpartition("@")
    for wanted, version in ((model_id, ""), (name, revision)):
        for model in models:
            if wanted and wanted in (model.model_id, model.slug, model.path.name):
                return _revised(model, version) if version else model
    known = ", ".join(model.model_id for model in models[:10]) or "none"
    raise ModelFilesError(f"{root}: no model '{model_id}' here; there are: {known}")


def read_facts(path: Path) -> ModelFiles:
    """The facts of the model at `path`, whatever its form. Raises ModelFilesError."""
    gguf = gguf_of(path)
    return read_model_files(path) if gguf is None else read_gguf_files(gguf)


def gguf_of(path: Path) -> Path | None:
    """The GGUF file that `path` is or holds; None for a folder of safetensors.

    Raises ModelFilesError for a folder of several, since nothing says which one is meant.
    """
    if path.suffix.lower() == SUFFIX and not path.is_dir():
        return path
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    try:
        files = sorted(file for file in path.iterdir() if is_gguf(file))
    except OSError as error:
        raise ModelFilesError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ModelFilesError(f"{path}: several GGUF files ({names}): name one of them")
    return files[0] if files else None


def read_manifest(path: Path) -> dict[str, str]:
    """`source`, `sha256` of the source and `weights_sha256`, as far as the folder's manifest goes."""
    try:
        content = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    source, origin = content.get("source"), content.get("converted_from")
    if isinstance(source, dict):
        source, origin = source.get("file"), source
    files = content.get("files")
    weights = files.get("model.safetensors") if isinstance(files, dict) else None
    weights = content.get("weights_sha256") or weights
    found = {
        "source": source,
        "revision": content.get("revision"),
        "sha256": origin.get("sha256") if isinstance(origin, dict) else None,
        "weights_sha256": weights.get("sha256") if isinstance(weights, dict) else weights,
    }
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _entry(path: Path) -> StoredModel | None:
    if is_gguf(path):
        return _plain(path.stem, path)
    if not path.is_dir():
        return None
    if path.name.startswith(_HUB_PREFIX):
        return _hub(path)
    return _plain(path.name, path)


def _plain(model_id: str, path: Path) -> StoredModel:
    manifest: dict[str, Any] = read_manifest(path) if path.is_dir() else {}
    revision = manifest.get("revision") or manifest.get("sha256", "")[:_SHORT]
    return StoredModel(model_id, path, revision, (revision,) if revision else ())


def _hub(folder: Path) -> StoredModel:
    """The revision that `refs/main` names, else the youngest, first."""
    snapshots = folder / "snapshots"
    found = [path for path in snapshots.iterdir() if path.is_dir()] if snapshots.is_dir() else []
    by_age = sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
    names = [path.name for path in by_age]
    main = _read_ref(folder / "refs" / "main")
    if main in names:
        names.remove(main)
        names.insert(0, main)
    model_id = folder.name.removeprefix(_HUB_PREFIX).replace("--", "/")
    if not names:
        return StoredModel(model_id, snapshots)
    return StoredModel(model_id, snapshots / names[0], names[0], tuple(names))


def _revised(model: StoredModel, revision: str) -> StoredModel:
    if revision == "main":
        return model
    matches = [name for name in model.revisions if name.startswith(revision)]
    if len(matches) != 1:
        known = ", ".join(model.revisions) or "none"
        raise ModelFilesError(
            f"{model.path}: {len(matches)} revisions '{revision}'; there are: {known}"
        )
    others = tuple(name for name in model.revisions if name != matches[0])
    path = model.path if matches[0] == model.revision else model.path.parent / matches[0]
    return StoredModel(model.model_id, path, matches[0], (matches[0], *others))


def _read_ref(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
