"""Lets a client ask for `text/event-stream`; an error still answers as JSON."""

from __future__ import annotations

from rest_framework.renderers import JSONRenderer


class EventStreamRenderer(JSONRenderer):
    """Takes part in content negotiation only: streams are written by `inference.api.responses`."""

    media_type = "text/event-stream"
    format = "sse"
