"""Models as clients of OpenAI's API list them."""

from __future__ import annotations

from typing import Any

from inference.models import Model

OWNER = "llamagpu"


def model_fields(model: Model) -> dict[str, Any]:
    return {
        "id": model.slug,
        "object": "model",
        "created": int(model.created_at.timestamp()),
        "owned_by": OWNER,
    }
