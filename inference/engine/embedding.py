"""Vectors of texts, for models that were loaded to generate: what they are, and who gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inference.engine.backends.base import BaseBackend
from inference.engine.errors import RequestError
from inference.engine.pooling import PooledStates, Pooling, UnknownPoolingError, read_pooling
from llamagpu.lib.error_codes import ErrorCode


class Embedder:
    """What the loaded model offers. What serves it may change between two steps."""

    def __init__(self, backend: BaseBackend, model_dir: Path) -> None:
        self._backend = backend
        self._obstacle = ""
        self._pooling = Pooling.MEAN
        try:
            self._pooling = read_pooling(model_dir)
        except UnknownPoolingError as error:
            self._obstacle = str(error)

    def describe(self) -> dict[str, Any] | None:
        """JSON-ready: the length of a vector and how it is pooled; None where there are none."""
        size = self._backend.hidden_size
        if size is None or self._obstacle:
            return None
        return {"dimensions": size, "pooling": str(self._pooling)}

    def new_pool(self) -> PooledStates:
        """Room for one text. Raises RequestError INVALID_INPUT where the model gives no vectors."""
        obstacle = self._obstacle
        if self._backend.hidden_size is None:
            obstacle = "transformers' model has no body whose states could be read"
        if obstacle:
            raise RequestError(
                f"model: it gives no embeddings ({obstacle}); choose one whose capabilities in "
                "GET /api/models name them",
                ErrorCode.INVALID_INPUT,
            )
        return PooledStates(self._pooling)
