"""What a model adapter may ask for: checked, so that its mistakes are not blamed on callers."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any

from inference.chat_template import ChatTemplate
from inference.protocol import SamplingParams
from plugins_app.base import AdaptContext

#: The backend of a model that another server computes.
REMOTE = "remote"
#: Stop strings that adapters may add to those of the caller.
MAX_ADDED_STOPS = 8
_MAX_STOP_CHARS = 256
#: Parameters that can be given a default, with the least and the greatest value.
RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (1e-9, 1.0),
    "top_k": (0, 1_000_000),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.1, 10.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "max_tokens": (1, math.inf),
}
_WHOLE = {"top_k", "max_tokens"}


def check_adapted(after: AdaptContext, params: SamplingParams) -> None:
    """Raises ValueError with what is wrong: ChatTemplateError is one."""
    if after.chat_template is not None:
        if after.backend == REMOTE:
            raise ValueError("a remote model takes no chat template: its own server has one")
        _compiled(after.chat_template)
    if len(_added_stops(after, params)) > MAX_ADDED_STOPS:
        raise ValueError(f"more than {MAX_ADDED_STOPS} stop strings were added")
    if not all(1 <= len(string) <= _MAX_STOP_CHARS for string in after.stop):
        raise ValueError(f"a stop string must have 1 to {_MAX_STOP_CHARS} characters")
    for name, value in after.defaults.items():
        _check_default(name, value)


def with_defaults(params: SamplingParams, after: AdaptContext) -> SamplingParams:
    """The parameters with what an adapter adds; what the caller gave stays as it is.

    A default for `max_tokens` can only lower it: more has not been set aside.
    """
    values: dict[str, Any] = {
        name: _typed(name, value)
        for name, value in after.defaults.items()
        if name not in params.given
    }
    if "max_tokens" in values:
        values["max_tokens"] = max(params.min_tokens, min(params.max_tokens, values["max_tokens"]))
    stop = params.stop + tuple(_added_stops(after, params))
    return replace(params, stop=stop, **values)


def _added_stops(after: AdaptContext, params: SamplingParams) -> list[str]:
    return [string for string in dict.fromkeys(after.stop) if string not in params.stop]


def _check_default(name: Any, value: Any) -> None:
    if name not in RANGES:
        raise ValueError(f"there is no default for {name!r:.40}")
    low, high = RANGES[name]
    is_number = isinstance(value, int) or (isinstance(value, float) and name not in _WHOLE)
    if isinstance(value, bool) or not is_number or not low <= value <= high:
        raise ValueError(f"the default of {name} cannot be {value!r:.40}")


def _typed(name: str, value: float) -> float:
    return int(value) if name in _WHOLE else float(value)


@lru_cache(maxsize=16)
def _compiled(source: str) -> ChatTemplate:
    return ChatTemplate(source)
