"""Jobs over HTTP: which there are, what each has cost, why it took so long, and its end."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.api.job_examples import (
    CONTENT_EXAMPLES,
    JOB_EXAMPLE,
    JOBS_EXAMPLE,
    REQUEST_EXAMPLES,
    TIMELINE_EXAMPLE,
)
from inference.api.job_filters import JobFilters, choose_jobs
from inference.api.job_lookup import find_job, no_such_job, visible_jobs, with_relations
from inference.api.job_serializers import (
    ContentRequestSerializer,
    JobContentSerializer,
    JobSerializer,
    RefusedCallSerializer,
    TimelineSerializer,
    WholeJobSerializer,
    answer_with,
    page_of,
)
from inference.api.job_shapes import (
    describe_content,
    describe_job,
    describe_timeline,
    describe_whole_job,
)
from inference.querysets import sees_all_jobs
from inference.refused_calls import find_refused_calls
from inference.services.job_requests import cancel_on_request, request_content
from llamagpu.http.pagination import PAGE_SCHEMA, page_response
from llamagpu.http.permissions import INFER, READ_JOBS, WRITE_SYSTEM

_ORDER = ("-created_at", "-id")
_NO_REQUEST = "There is no job of this request; what was refused is told for an hour."


class JobsView(APIView):
    """GET /api/jobs: one's own, newest first; everybody's for Admins."""

    access = READ_JOBS

    @extend_schema(
        operation_id="list_jobs",
        parameters=[JobFilters, *PAGE_SCHEMA],
        responses=page_of("JobsPage", JobSerializer),
        examples=[JOBS_EXAMPLE],
    )
    def get(self, request: Request) -> Response:
        jobs = with_relations(choose_jobs(request)).without_content()
        return page_response(request, jobs, describe_job, ordering=_ORDER)


class JobView(APIView):
    """GET and DELETE /api/jobs/{id}"""

    access = {"GET": READ_JOBS, "DELETE": INFER}

    @extend_schema(
        operation_id="read_job",
        responses=answer_with("JobAnswer", job=WholeJobSerializer()),
        examples=[JOB_EXAMPLE],
    )
    def get(self, request: Request, job_id: uuid.UUID) -> Response:
        return _whole(request, find_job(request.user, request.auth, job_id))

    @extend_schema(
        operation_id="cancel_job",
        description="Ends a job; one that has ended stays as it is. Its worker may take a second.",
        responses={200: answer_with("JobEnding", job=WholeJobSerializer())},
        examples=[JOB_EXAMPLE],
    )
    def delete(self, request: Request, job_id: uuid.UUID) -> Response:
        job = find_job(request.user, request.auth, job_id)
        cancel_on_request(actor=request.user, job=job)
        return _whole(request, find_job(request.user, request.auth, job_id))


class JobContentView(APIView):
    """POST /api/jobs/{id}/content: an Admin reads what somebody else has asked, and says why."""

    access = WRITE_SYSTEM

    @extend_schema(
        operation_id="request_job_content",
        request=ContentRequestSerializer,
        responses=answer_with(
            "JobContentAnswer", job_id=serializers.UUIDField(), content=JobContentSerializer()
        ),
        examples=CONTENT_EXAMPLES,
    )
    def post(self, request: Request, job_id: uuid.UUID) -> Response:
        body = ContentRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        job = find_job(request.user, request.auth, job_id)
        request_content(actor=request.user, job=job, reason=body.validated_data["reason"])
        content = describe_content(job)
        return Response({"success": True, "job_id": str(job.pk), "content": content})


class JobTimelineView(APIView):
    """GET /api/jobs/{id}/timeline: what happened to a job, stage by stage."""

    access = READ_JOBS

    @extend_schema(
        operation_id="read_job_timeline",
        responses=answer_with("TimelineAnswer", **TimelineSerializer().fields),
        examples=[TIMELINE_EXAMPLE],
    )
    def get(self, request: Request, job_id: uuid.UUID) -> Response:
        job = find_job(request.user, request.auth, job_id)
        return Response({"success": True, **describe_timeline(job)})


class RequestView(APIView):
    """GET /api/requests/{request_id}: the jobs of a call, each with its timeline.

    A call that was refused made none: for an hour `refusals` says why.
    """

    access = READ_JOBS

    @extend_schema(
        operation_id="read_request",
        parameters=PAGE_SCHEMA,
        responses=page_of(
            "RequestPage", TimelineSerializer, refusals=RefusedCallSerializer(many=True)
        ),
        examples=REQUEST_EXAMPLES,
    )
    def get(self, request: Request, request_id: str) -> Response:
        # A NUL, which no request's id holds, is more than PostgreSQL takes in a question.
        if not request_id.isprintable():
            raise no_such_job(_NO_REQUEST)
        jobs: Any = visible_jobs(request.user, request.auth).filter(request_id=request_id)
        jobs = jobs.without_content().prefetch_related("attempts")
        # In the order of the call's prompts.
        page = page_response(request, jobs, describe_timeline, ordering=("created_at", "id"))
        sees_all = sees_all_jobs(request.user, request.auth)
        refusals = find_refused_calls(request_id, request.user, sees_all=sees_all)
        if not page.data["results"] and not refusals:
            raise no_such_job(_NO_REQUEST)
        page.data["refusals"] = refusals
        return page


def _whole(request: Request, job: Any) -> Response:
    is_owner = job.owner_id == request.user.pk
    return Response({"success": True, "job": describe_whole_job(job, with_content=is_owner)})
