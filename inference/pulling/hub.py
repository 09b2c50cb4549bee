"""A repository of a model hub as a folder under the model root, pinned to one commit.

What was fetched stays in a workshop beside the models until the last file is there: a pull that was
cancelled or killed goes on from it. Weights in pickle files, code and folders are never fetched.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from inference.model_files import ModelFilesError
from inference.model_store import read_facts
from inference.pulling import manifest
from inference.pulling.errors import PullError, disk_error
from inference.pulling.hub_listing import HubAccess, HubFile, Listing, list_repository
from inference.pulling.hub_transfer import Fetcher
from inference.pulling.place import check_target, only_one, put_in_place
from inference.pulling.progress import Meter, Progress
from inference.pulling.sources import HubSource

#: Free space that a pull leaves: a full disk stops the database.
RESERVE_BYTES = 512 * 1024**2


class CommitListener(Protocol):
    """Told once, before the first byte: what the revision stands for."""

    def __call__(self, commit: str) -> None: ...


@dataclass(frozen=True, slots=True)
class HubPull:
    """Where a repository goes: `<model_root>/<name>`. `commit` pins it; empty resolves the revision."""

    source: HubSource
    name: str
    model_root: Path
    commit: str = ""

    @property
    def target(self) -> Path:
        return self.model_root / self.name

    def workshop(self, commit: str) -> Path:
        return self.model_root / f".pull-{self.name}-{commit[:12]}"


def pull_repository(
    pull: HubPull, access: HubAccess, progress: Progress, on_commit: CommitListener
) -> bool:
    """Bring a repository to the disk; False where it was there already, whole. Raises PullError."""
    check_target(pull.target, pull.model_root)
    if _is_there(pull):
        return False
    try:
        pull.model_root.mkdir(parents=True, exist_ok=True)
        with only_one(pull.model_root / f".{pull.name}.lock"):
            if _is_there(pull):  # another pull has brought it while this one waited
                return False
            progress.update("resolve", 0.0)
            listing = list_repository(pull.source, pull.commit, access)
            on_commit(listing.commit)
            _fetch(pull, listing, access, progress)
    except OSError as error:
        raise disk_error(error, pull.model_root) from error
    return True


def _is_there(pull: HubPull) -> bool:
    """Intact, and from this source; of a pull that names a commit, that one."""
    if not manifest.is_intact(pull.target):
        return False
    if manifest.source_of(pull.target) != pull.source.spelling:
        raise PullError(f"{pull.target} holds another model. Choose another name.")
    return not pull.commit or manifest.commit_of(pull.target) == pull.commit


def _fetch(pull: HubPull, listing: Listing, access: HubAccess, progress: Progress) -> None:
    workshop = pull.workshop(listing.commit)
    for other in pull.model_root.glob(f".pull-{pull.name}-*"):
        if other != workshop:  # of another commit
            shutil.rmtree(other, ignore_errors=True)
    folder = workshop / "model"
    folder.mkdir(parents=True, exist_ok=True)
    _check_space(listing.files, folder, pull)
    files: dict[str, Any] = {}
    meter = Meter(listing.total)
    done = 0
    with Fetcher(access) as fetcher:
        for file in listing.files:

            def on_bytes(num_bytes: int, before: int = done) -> None:
                here = before + num_bytes
                progress.update("download", here / max(1, listing.total), meter.read(here))

            digest = fetcher.fetch(listing.url_of(file, access), file, folder, on_bytes)
            done += file.num_bytes
            files[file.name] = {"bytes": file.num_bytes, "sha256": digest}
    progress.update("verify", 0.0)
    try:
        read_facts(folder)
    except ModelFilesError as error:
        shutil.rmtree(workshop, ignore_errors=True)
        reason = str(error).replace(f"{folder}/", "").replace(str(folder), pull.name)
        raise PullError(f"{pull.source.spelling} cannot be served: {reason}") from error
    manifest.write_manifest(folder, pull.source, listing.commit, files)
    progress.update("verify", 1.0)
    put_in_place(workshop, pull.target)
    shutil.rmtree(workshop, ignore_errors=True)


def _check_space(files: Sequence[HubFile], folder: Path, pull: HubPull) -> None:
    """Raises PullError with both figures where what is missing does not fit."""
    here = sum(path.stat().st_size for path in folder.iterdir())
    needed = max(0, sum(file.num_bytes for file in files) - here) + RESERVE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PullError(
            f"Pulling {pull.name} takes {needed / 1e6:.0f} MB under {pull.model_root}, "
            f"{RESERVE_BYTES / 1e6:.0f} MB of them kept free, and only {free / 1e6:.0f} MB are "
            "free there. Free some space, or name a folder on another disk in LLAMA_MODEL_PATH."
        )
