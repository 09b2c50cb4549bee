"""Models for people: cards of all, one with its facts. What changes them goes through the API."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_noop

from inference.load_options import BACKENDS, MAX_LEVEL
from inference.model_control import MAX_LIMITS
from inference.model_progress import ModelProgress, progress_of
from inference.model_sources import SourceKind
from inference.models import Model
from inference.room import fit_of
from inference.status import describe_models
from inference.views.model_history import history_of
from llamagpu.http.errors import AppError
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import INFER, READ_MODELS, WRITE_MODELS

_SOURCES = (
    (SourceKind.HUB, gettext_noop("Hub"), "org/name@revision"),
    (SourceKind.WHEEL, gettext_noop("Python package"), "name==version"),
    (SourceKind.PATH, gettext_noop("Folder"), gettext_noop("folder under the model root")),
)


class ModelsPage(PageView):
    """GET /models; with `?part=cards` the cards alone, which the page's script puts in their place."""

    access = READ_MODELS
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        user: Any = request.user
        rows = Model.objects.visible_to(user).order_by("slug")
        context = {
            "cards": [
                _card(row, facts) for row, facts in zip(rows, describe_models(rows), strict=True)
            ],
            "may_write": user.can(WRITE_MODELS.resource, WRITE_MODELS.action),
            "may_infer": user.can(INFER.resource, INFER.action),
        }
        if request.GET.get("part") == "cards":
            return render(request, "inference/model_cards.html", context)
        context |= {"sources": _SOURCES, "backends": BACKENDS, "levels": range(MAX_LEVEL + 1)}
        return render(request, "inference/models.html", context)


class ModelPage(PageView):
    """GET /models/{id}: facts, limits, what it did of late."""

    access = READ_MODELS
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest, slug: str) -> HttpResponse:
        user: Any = request.user
        row = Model.objects.visible_to(user).filter(slug=slug).first()
        if row is None:
            raise Http404
        may_write = user.can(WRITE_MODELS.resource, WRITE_MODELS.action)
        context = {
            "card": _card(row, describe_models([row])[0]),
            "row": row,
            "may_write": may_write,
            "may_infer": user.can(INFER.resource, INFER.action),
            "backends": BACKENDS,
            "levels": range(MAX_LEVEL + 1),
            "limits": [(name, getattr(row, name), most) for name, most in MAX_LIMITS.items()],
            "history": history_of(row),
            "fit": fit_of(row) if may_write else None,
        }
        return render(request, "inference/model.html", context)


def _card(row: Model, facts: dict[str, Any]) -> dict[str, Any]:
    progress = _progress(row)
    return {
        **facts,
        "row": row,
        "progress_now": progress,
        "percent": round(100 * progress.fraction) if progress else 0,
        "is_busy": progress is not None and not progress.is_settled,
        "speed": _speed(facts["metrics"]),
        "fit": None if facts["loaded"] or row.is_remote else fit_of(row),
    }


def _progress(row: Model) -> ModelProgress | None:
    """None where Redis does not answer: the cards then show what the database says."""
    try:
        return progress_of(row)
    except AppError:
        return None


def _speed(metrics: dict[str, Any] | None) -> float | None:
    """Tokens a second of an engine's decoding, all requests of a step together, since its start."""
    if not metrics or not metrics.get("decode_time_total"):
        return None
    return float(metrics["generation_tokens_total"] / metrics["decode_time_total"])
