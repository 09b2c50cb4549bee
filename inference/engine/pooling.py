"""One vector of a text from the model's last hidden states, one for each token.

A model that was made for it says how in the files that sentence-transformers writes beside it;
otherwise it is the mean. Sums are kept in double precision, so that where a text was cut into chunks
does not show.
"""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path

import torch

from inference.model_files import ModelFilesError, read_json_object

_MODULES, _CONFIG = "modules.json", Path("1_Pooling", "config.json")


class Pooling(StrEnum):
    """Which of the hidden states make the vector."""

    MEAN = "mean"
    LAST = "last"


_SWITCHES = {"pooling_mode_mean_tokens": Pooling.MEAN, "pooling_mode_lasttoken": Pooling.LAST}


class UnknownPoolingError(Exception):
    """The model's files ask for a way of pooling that is not served. The message says which."""


def read_pooling(model_dir: Path) -> Pooling:
    """What the model's own files ask for, else the mean. Raises UnknownPoolingError."""
    if not (model_dir / _MODULES).is_file() or not (model_dir / _CONFIG).is_file():
        return Pooling.MEAN
    try:
        config = read_json_object(model_dir / _CONFIG)
    except ModelFilesError as error:
        raise UnknownPoolingError(f"its {_CONFIG} cannot be read") from error
    wanted = sorted(
        name for name, value in config.items() if name.startswith("pooling_mode_") and value is True
    )
    if len(wanted) != 1 or wanted[0] not in _SWITCHES:
        raise UnknownPoolingError(
            f"its {_CONFIG} asks for {', '.join(wanted) or 'nothing'}; served is one of "
            f"{', '.join(_SWITCHES)}"
        )
    return _SWITCHES[wanted[0]]


class PooledStates:
    """The hidden states of one text, as they come."""

    def __init__(self, pooling: Pooling) -> None:
        self._pooling = pooling
        self._sum: torch.Tensor | None = None
        self._num_rows = 0

    def clear(self) -> None:
        """Begin again."""
        self._sum, self._num_rows = None, 0

    def add(self, rows: torch.Tensor) -> None:
        """Those of the text's next tokens [tokens, hidden], of any type."""
        if rows.shape[0] == 0:
            return
        if self._pooling is Pooling.LAST:
            self._sum, self._num_rows = rows[-1].double(), 1
            return
        total = rows.double().sum(0)
        self._sum = total if self._sum is None else self._sum + total
        self._num_rows += rows.shape[0]

    def vector(self) -> bytes | None:
        """Of length 1, as float32 in little-endian bytes; None where it is no finite number."""
        if self._sum is None:
            return None
        length = float(self._sum.norm())
        if not math.isfinite(length) or length == 0.0:
            return None
        unit = (self._sum / length).float().cpu().contiguous()
        return unit.numpy().astype("<f4").tobytes()
