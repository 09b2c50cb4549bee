"""What `/v1/embeddings` answers."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

from inference.openai_api.events import sum_of
from inference.openai_api.shape import Answer, Writer
from inference.openai_api.submission import Submitted
from inference.protocol import DoneEvent
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode


class EmbeddingAnswer(Answer):
    prompt_field = "input"

    def __init__(self, model: str, *, is_base64: bool) -> None:
        self._model = model
        self._give = _as_base64 if is_base64 else _as_numbers

    def body(self, submitted: Submitted, ended: Sequence[DoneEvent]) -> dict[str, Any]:
        """Raises AppError where a call is told once more whose vectors are kept no longer."""
        vectors = [vector for done in ended for vector in done.embeddings]
        if not vectors:
            raise AppError(
                ErrorCode.CONFLICT,
                "The vectors of this call are not kept any more: ask again, under another key.",
            )
        usage = sum_of([done.usage for done in ended])
        return {
            "object": "list",
            "model": self._model,
            "data": [
                {"object": "embedding", "index": index, "embedding": self._give(vector)}
                for index, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.total_tokens},
        }

    def writer(self, submitted: Submitted) -> Writer:
        raise TypeError("vectors are not streamed")


def _as_base64(vector: bytes) -> str:
    return base64.b64encode(vector).decode()


def _as_numbers(vector: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(vector) // 4}f", vector))
