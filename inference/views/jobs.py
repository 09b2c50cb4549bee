"""Jobs for people: the list with its filters, one job with its "why", its end."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from inference.api.job_filters import JobFilters
from inference.api.job_lookup import visible_jobs, with_relations
from inference.api.job_shapes import describe_whole_job
from inference.job_contents import public_error
from inference.models import InferenceJob, Model
from inference.querysets import sees_all_jobs
from inference.services.job_requests import cancel_on_request
from inference.states import LIVE_JOB_STATES, JobState
from inference.views.job_stages import in_words, stages_of
from llamagpu.http.errors import AppError
from llamagpu.http.pages import PageView
from llamagpu.http.pagination import CursorPages
from llamagpu.http.permissions import INFER, READ_JOBS

_ORDER = ("-created_at", "-id")
_FILTERS = ("state", "model", "user", "request_id", "since", "until", "batch")
# What else is kept of the parameters, for the API alone.
_UNTOLD = ("given",)
_MORE = ("request_id", "since", "until", "batch")


class JobsPage(PageView):
    """GET /jobs: one's own, newest first; everybody's metadata for Admins."""

    access = READ_JOBS
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        user: Any = request.user
        given = {name: text for name in _FILTERS if (text := request.GET.get(name, "").strip())}
        checked = JobFilters(data=given)
        sees_all = sees_all_jobs(user)
        rows = with_relations(InferenceJob.objects.visible_to(user)).without_content()
        rows = rows.matching(checked.validated_data) if checked.is_valid() else rows.none()
        pages, problems = CursorPages(_ORDER), _problems(checked)
        try:
            page = pages.paginate_queryset(rows, Request(request))
        except ValidationError as error:
            page, problems = [], [*problems, str(next(iter(error.detail)))]
        context = {
            "jobs": [_line(job, user) for job in page],
            "next": pages.get_next_link() if page else None,
            "previous": pages.get_previous_link() if page else None,
            "values": given,
            "problems": problems,
            "is_narrowed": any(name in given for name in _MORE),
            "sees_all": sees_all,
            "states": [state.value for state in JobState],
            "models": Model.objects.visible_to(user)
            .order_by("slug")
            .values_list("slug", flat=True),
        }
        return render(request, "inference/jobs.html", context, status=400 if problems else 200)


class JobPage(PageView):
    """GET /jobs/{id}: figures and timeline for who may see it, the words for its owner."""

    access = READ_JOBS
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
        job = _find(request, job_id)
        is_owner = job.owner_id == request.user.pk
        user: Any = request.user
        facts = describe_whole_job(job, with_content=is_owner)
        context = {
            "job": job,
            "facts": facts,
            "parameters": [
                (name, in_words(value))
                for name, value in facts["params"].items()
                if value is not None and name not in _UNTOLD
            ],
            "stages": stages_of(job),
            "is_owner": is_owner,
            "is_live": job.state in LIVE_JOB_STATES,
            "may_cancel": user.can(INFER.resource, INFER.action),
        }
        return render(request, "inference/job.html", context)


class CancelJobPage(PageView):
    """POST /jobs/{id}/cancel"""

    access = INFER
    http_method_names = ["post", "options"]

    def post(self, request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
        job = _find(request, job_id)
        try:
            has_ended = cancel_on_request(actor=request.user, job=job)
        except AppError as error:
            messages.error(request, error.message)
        else:
            ended, ends = (
                gettext("The job has ended."),
                gettext("The job ends within a second or two."),
            )
            messages.success(request, ended if has_ended else ends)
        return redirect("job-page", job_id=job_id)


def _find(request: HttpRequest, job_id: uuid.UUID) -> InferenceJob:
    """Raises Http404, also for a job that the person may not see."""
    job = visible_jobs(request.user, None).filter(pk=job_id).first()
    if job is None:
        raise Http404
    return job


def _line(job: InferenceJob, user: Any) -> dict[str, Any]:
    return {
        "row": job,
        "is_own": job.owner_id == user.pk,
        "duration": (job.finished_at - job.created_at).total_seconds() if job.finished_at else None,
        "error": public_error(job.error_code, job.error_message),
    }


def _problems(checked: JobFilters) -> list[str]:
    if checked.is_valid():
        return []
    return [
        f"{name}: {' '.join(str(problem) for problem in found)}"
        for name, found in checked.errors.items()
    ]
