"""The playground: chat with models, compare two, keep what was said."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from inference.api.serializers import SamplingSerializer
from inference.models import Model
from inference.services.conversations import keeps_conversations
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import INFER
from monitoring.configuration import current

_LANGUAGES = (("curl", "curl"), ("python", "Python"), ("javascript", "JavaScript"))


_API_FIELDS = SamplingSerializer().fields


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number of the form; `default` is what the page begins with."""

    name: str
    label: str
    help: str
    minimum: float
    maximum: float
    step: float
    default: float | None

    @property
    def is_api_default(self) -> bool:
        """Whether a request may leave it out."""
        return self.default is not None and _API_FIELDS[self.name].default == self.default


def parameters(max_new_tokens: int) -> tuple[Parameter, ...]:
    """What the page offers; the API's own limits are checked there again."""
    return (
        Parameter(
            "max_tokens",
            "Most new tokens",
            "The answer ends there at the latest.",
            1,
            max_new_tokens,
            1,
            min(512, max_new_tokens),
        ),
        Parameter(
            "temperature",
            "Temperature",
            "0 always takes the likeliest token; higher is more varied.",
            0,
            2,
            0.05,
            0.7,
        ),
        Parameter(
            "top_p", "Top p", "Only the likeliest tokens that make up this share.", 0.01, 1, 0.01, 1
        ),
        Parameter("top_k", "Top k", "Only so many of the likeliest tokens; 0: all.", 0, 1000, 1, 0),
        Parameter(
            "min_p", "Min p", "Drops tokens under this share of the likeliest one.", 0, 1, 0.01, 0
        ),
        Parameter(
            "repetition_penalty",
            "Repetition penalty",
            "Over 1 makes what was said already less likely.",
            0.1,
            10,
            0.05,
            1,
        ),
        Parameter(
            "presence_penalty",
            "Presence penalty",
            "Over 0 favours tokens that were not used yet.",
            -2,
            2,
            0.1,
            0,
        ),
        Parameter(
            "frequency_penalty",
            "Frequency penalty",
            "Over 0 disfavours tokens by how often they came.",
            -2,
            2,
            0.1,
            0,
        ),
        Parameter(
            "seed",
            "Seed",
            "The same seed gives the same text; empty: another each time.",
            0,
            2**31,
            1,
            None,
        ),
    )


class PlaygroundPage(PageView):
    """GET: everything else is done by the page's script over the API, with this session's rights."""

    access = INFER

    def get(self, request: HttpRequest) -> HttpResponse:
        models = Model.objects.visible_to(request.user).servable().order_by("slug")
        context = {
            "models": models.values_list("slug", flat=True),
            "default_model": current().default_model,
            "parameters": parameters(current().max_new_tokens),
            "keeps_history": keeps_conversations(request.user),
            "snippet_languages": _LANGUAGES,
        }
        return render(request, "inference/playground.html", context)
