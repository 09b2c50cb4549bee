"""Lets a client ask for `text/event-stream`; an error still answers as JSON."""

from __future__ import annotations

from typing import Any

from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class EventStreamRenderer(JSONRenderer):
    """Takes part in content negotiation only: streams are written by `inference.api.responses`."""

    media_type = "text/event-stream"
    format = "sse"


class StreamingView(APIView):
    """A view that answers with a stream of events, and with JSON where it cannot."""

    renderer_classes = [JSONRenderer, EventStreamRenderer]

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(response, Response):  # an error, whatever the client asked for
            request.accepted_renderer = JSONRenderer()
            request.accepted_media_type = JSONRenderer.media_type
        return super().finalize_response(request, response, *args, **kwargs)
