"""Limits: those of the caller at /api/me/limits, those of all subjects at /api/limits."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.answer_schemas import LIMITS, OWN_LIMITS, SUBJECT_LIMITS
from accounts.api.caller import caller_of
from accounts.limit_report import report_limits
from accounts.limit_subjects import (
    LIMIT_NAMES,
    Subject,
    SubjectKind,
    find_subject,
    settable_limits,
    subject_of,
)
from accounts.models import LimitPolicy
from accounts.services.limits import HIGHEST, set_limits
from llamagpu.http.fields import StrictSerializer, WholeNumberField
from llamagpu.http.filters import read_filters
from llamagpu.http.pagination import PAGE_SCHEMA, page_response
from llamagpu.http.permissions import READ_SYSTEM, WRITE_SYSTEM, SignedIn
from llamagpu.http.schema_words import asked


@asked({"inference_per_minute": 30, "concurrent_jobs": 4})
class LimitsSerializer(StrictSerializer):
    """A limit that is left out or null is inherited; -1 is no limit, 0 allows nothing."""

    def get_fields(self) -> dict[str, Any]:
        return {
            name: WholeNumberField(default=None, allow_null=True, min_value=-1, max_value=HIGHEST)
            for name in LIMIT_NAMES
        }


class OwnLimitsView(APIView):
    """GET /api/me/limits: what the caller may do, and what is left of it."""

    access = SignedIn()

    @extend_schema(operation_id="read_own_limits", responses=OWN_LIMITS)
    def get(self, request: Request) -> Response:
        limits = report_limits(request._request, request.user, request.auth)
        return Response({"success": True, "limits": limits})


class LimitsView(APIView):
    """GET /api/limits: every subject with limits of its own."""

    access = READ_SYSTEM

    @extend_schema(operation_id="list_limits", parameters=PAGE_SCHEMA, responses=LIMITS)
    def get(self, request: Request) -> Response:
        read_filters(request, StrictSerializer)
        rows = LimitPolicy.objects.visible_to(request.user).with_subjects()
        return page_response(request, rows, _describe_row)


class SubjectLimitsView(APIView):
    """GET and PUT /api/limits/{subject}"""

    access = {"GET": READ_SYSTEM, "PUT": WRITE_SYSTEM}

    @extend_schema(operation_id="read_limits", responses=SUBJECT_LIMITS)
    def get(self, request: Request, subject: str) -> Response:
        found = find_subject(subject)
        rows = LimitPolicy.objects.visible_to(request.user)
        return _answer(found, rows.filter(**found.where).first())

    @extend_schema(operation_id="set_limits", request=LimitsSerializer, responses=SUBJECT_LIMITS)
    def put(self, request: Request, subject: str) -> Response:
        body = LimitsSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        found = find_subject(subject)
        settable = settable_limits(found.kind)
        values = {
            name: value
            for name, value in body.validated_data.items()
            if name in settable or value is not None
        }
        policy = set_limits(actor=caller_of(request), subject=subject, **values)
        return _answer(found, policy)


def _answer(subject: Subject, policy: LimitPolicy | None) -> Response:
    limits = {name: getattr(policy, name, None) for name in settable_limits(subject.kind)}
    return Response({"success": True, "subject": str(subject), "limits": limits})


def _describe_row(policy: LimitPolicy) -> dict[str, Any]:
    subject = subject_of(policy)
    kind = SubjectKind(subject.partition(":")[0])
    limits = {name: getattr(policy, name) for name in settable_limits(kind)}
    return {"subject": subject, "limits": limits}
