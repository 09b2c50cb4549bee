"""The numbers that the playground's form offers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inference.api.serializers import SamplingSerializer

_API_FIELDS = SamplingSerializer().fields
_MOST_NEW_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number of the form; `default` is what the page begins with."""

    name: str
    label: str
    help: str
    minimum: float
    maximum: float
    default: float | None
    step: float | str = "any"

    @property
    def is_api_default(self) -> bool:
        """Whether a request may leave it out."""
        return self.default is not None and _API_FIELDS[self.name].default == self.default


_MAX_TOKENS = Parameter(
    "max_tokens", "Most new tokens", "The answer ends there at the latest.", 1, 0, None, 1
)
_TEMPERATURE_HELP = "0 always takes the likeliest token; higher is more varied."
_REPETITION_HELP = "Over 1 makes what was said already less likely."
_FREQUENCY_HELP = "Over 0 disfavours tokens by how often they came."
_SEED_HELP = "The same seed gives the same text; empty: another each time."
_OTHERS = (
    Parameter("temperature", "Temperature", _TEMPERATURE_HELP, 0, 2, 0.7),
    Parameter("top_p", "Top p", "Only the likeliest tokens that make up this share.", 0.01, 1, 1),
    Parameter("top_k", "Top k", "Only so many of the likeliest; 0: all.", 0, 1_000_000, 0, 1),
    Parameter("min_p", "Min p", "Drops tokens under this share of the likeliest one.", 0, 1, 0),
    Parameter("repetition_penalty", "Repetition penalty", _REPETITION_HELP, 0.1, 10, 1),
    Parameter("presence_penalty", "Presence penalty", "Over 0 favours new tokens.", -2, 2, 0),
    Parameter("frequency_penalty", "Frequency penalty", _FREQUENCY_HELP, -2, 2, 0),
    Parameter("seed", "Seed", _SEED_HELP, 0, 2**53 - 1, None, 1),
)


def parameters(max_new_tokens: int) -> tuple[Parameter, ...]:
    """What the page offers; the API's own limits are checked there again."""
    most = replace(
        _MAX_TOKENS, maximum=max_new_tokens, default=min(_MOST_NEW_TOKENS, max_new_tokens)
    )
    return (most, *_OTHERS)
