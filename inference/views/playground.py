"""The playground: chat with models, compare two, keep what was said."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from inference.models import Model
from inference.services.conversations import keeps_conversations
from inference.views.playground_parameters import parameters
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import INFER
from monitoring.configuration import current

_LANGUAGES = (("curl", "curl"), ("python", "Python"), ("javascript", "JavaScript"))


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
