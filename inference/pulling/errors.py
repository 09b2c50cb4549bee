"""Why a model could not be pulled."""

from __future__ import annotations

import errno
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class PullError(Exception):
    """Nothing was changed under the model root. One sentence for a person: reason and remedy."""


def disk_error(error: OSError, folder: Path) -> PullError:
    """The PullError for a file operation under `folder` that failed."""
    if error.errno in _FULL:
        return full_disk(folder)
    reason = error.strerror or str(error)
    return PullError(
        f"{folder} cannot be written: {reason}. Make it writable, or name another folder in "
        "LLAMA_MODEL_PATH."
    )


def full_disk(folder: Path) -> PullError:
    return PullError(
        f"The disk of {folder} is full. Free some space, or name a folder on another disk in "
        "LLAMA_MODEL_PATH, then pull again."
    )
