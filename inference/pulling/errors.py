"""Why a model could not be pulled."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SAID_FULL = re.compile("|".join(re.escape(os.strerror(number)) for number in _FULL))


class PullError(Exception):
    """Nothing was changed under the model root. One sentence for a person: reason and remedy."""


def disk_error(error: OSError, folder: Path) -> PullError:
    """The PullError for a file operation under `folder` that failed."""
    if error.errno in _FULL:
        return PullError(
            f"The disk of {folder} is full. Free some space, or name a folder on another disk in "
            "LLAMA_MODEL_PATH, then pull again."
        )
    reason = error.strerror or str(error)
    return PullError(
        f"{folder} cannot be written: {reason}. Make it writable, or name another folder in "
        "LLAMA_MODEL_PATH."
    )


def raise_if_disk_full(lines: Sequence[str]) -> None:
    """Raises OSError where a program that failed said so in its last lines."""
    if any(_SAID_FULL.search(line) for line in lines):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
