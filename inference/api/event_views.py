"""Stage 7/7 once more: the events of a job for a caller who comes back."""

from __future__ import annotations

import uuid

from django.http import HttpResponse, HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from accounts.rights_watch import holder_of
from inference.api import responses
from inference.api.answer_schemas import STREAM
from inference.api.job_lookup import find_job, no_such_job
from inference.api.renderers import StreamingView
from inference.models import InferenceJob
from inference.resuming import Source, find_source, replay_events, resume
from inference.services.attempts import message_for
from inference.stream import Events, Position
from llamagpu.http.database import release_connections
from llamagpu.http.origin import current_origin
from llamagpu.http.permissions import READ_JOBS

HEADER = "Last-Event-ID"
PARAMETER = "cursor"
_DESCRIPTION = (
    "the `id` of the last event that you have, as `<attempt>-<seq>`; without it all that there are"
)


class JobEventsView(StreamingView):
    """GET /api/jobs/{id}/events: its owner reads a stream on, or its end from the row."""

    access = READ_JOBS

    @extend_schema(
        operation_id="read_job_events",
        parameters=[
            OpenApiParameter(HEADER, str, OpenApiParameter.HEADER, description=_DESCRIPTION),
            OpenApiParameter(
                PARAMETER, str, description=f"{_DESCRIPTION}; the header goes before it"
            ),
        ],
        responses={
            (200, "text/event-stream"): STREAM,
            204: OpenApiResponse(description="nothing follows: the end has been read"),
        },
    )
    def get(self, request: Request, job_id: uuid.UUID) -> HttpResponseBase:
        items = events_after(request, job_id, read_cursor(request))
        if items is None:
            return HttpResponse(status=204, headers={responses.JOB_ID_HEADER: str(job_id)})
        return responses.stream_events(request._request, str(job_id), items)


def events_after(request: Request, job_id: uuid.UUID, after: Position) -> Events | None:
    """What stands after `after` in a job of the caller's own; None where that is nothing.

    Raises AppError JOB_NOT_FOUND, CONFLICT where the texts are not kept, BACKEND_UNAVAILABLE.
    """
    job = _own_job(request, job_id)
    source = find_source(job, after)
    if source is Source.NOWHERE:
        return None
    if source is Source.ROW:
        items = replay_events(job, after)
    else:
        peer = current_origin.get().peer
        holder = holder_of(request.user, request.auth, READ_JOBS, peer=peer)
        items = resume(message_for(job), after, holder)
    release_connections()
    return items


def read_cursor(request: Request) -> Position:
    """Where the caller stopped. Raises ValidationError that names what is malformed."""
    for name, given in request.query_params.lists():
        if name != PARAMETER:
            raise ValidationError({name: ["Unknown field: it is refused rather than ignored."]})
        if len(given) > 1:
            raise ValidationError({name: ["Stands more than once."]})
    name, text = HEADER, request.headers.get(HEADER, "")
    if not text:
        name, text = PARAMETER, request.query_params.get(PARAMETER, "")
    try:
        return Position.parse(text) if text else Position()
    except ValueError:
        message = "Must be the id of an event, such as 1-17."
        raise ValidationError({name: [message]}) from None


def _own_job(request: Request, job_id: uuid.UUID) -> InferenceJob:
    """Raises AppError JOB_NOT_FOUND for every other one: nobody but the owner reads what was said."""
    job = find_job(request.user, request.auth, job_id)
    if job.owner_id != request.user.pk:
        raise no_such_job()
    return job
