"""Models as clients of OpenAI's API list them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from inference.models import Model
from inference.presence import EngineReport
from inference.states import ModelState
from llamagpu.lib.version import VERSION

OWNER = "llamagpu"


def fingerprint_of(model: Model, engines: Iterable[EngineReport]) -> str:
    """A name for what computes: the model's files, who serves them and how, the server's version."""
    serving = {
        (engine.backend, engine.dtype, str(engine.capabilities.get("optimization_level", "")))
        for engine in engines
        if engine.model == model.slug and engine.state is ModelState.READY
    }
    facts = [model.slug, model.revision, model.sha256, model.weight_bytes, model.stored_dtype]
    text = repr((VERSION, facts, sorted(serving)))
    return f"fp_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def model_fields(model: Model) -> dict[str, Any]:
    return {
        "id": model.slug,
        "object": "model",
        "created": int(model.created_at.timestamp()),
        "owned_by": OWNER,
    }
