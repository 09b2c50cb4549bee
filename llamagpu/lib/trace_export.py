"""The tracer that sends spans by OTLP. Only imported where tracing is on.

Spans wait in a bounded queue of OpenTelemetry's own and are dropped when it is full: a receiver that is
away slows nobody down.
"""

from __future__ import annotations

import atexit
import os
import socket
import time

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from llamagpu.lib.tracing import Attributes
from llamagpu.lib.version import VERSION

_TIMEOUT = 5
_EVERY_MS = 1000
_propagator = TraceContextTextMapPropagator()


class ExportedSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        context = span.get_span_context()
        flags = f"{int(context.trace_flags):02x}"
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags}"

    def event(self, name: str) -> None:
        self._span.add_event(name)

    def end(
        self,
        attributes: Attributes | None = None,
        *,
        name: str = "",
        error: str = "",
        at: float | None = None,
    ) -> None:
        if name:
            self._span.update_name(name)
        if attributes:
            self._span.set_attributes(dict(attributes))
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(trace.StatusCode.ERROR, error)
        self._span.end(end_time=_nanoseconds(at))


class ExportingTracer:
    def __init__(self, endpoint: str, component: str, sampled_percent: int) -> None:
        resource = Resource.create(
            {
                "service.name": f"llamagpu-{component}",
                "service.namespace": "llamagpu",
                "service.version": VERSION,
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            }
        )
        sampler = ParentBased(TraceIdRatioBased(sampled_percent / 100))
        # A process of its own for every tracer: none is shared with what a plugin may set up.
        provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=_TIMEOUT)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_EVERY_MS))
        self._provider = provider
        self._tracer = provider.get_tracer("llamagpu", VERSION)
        atexit.register(self.close)

    def begin(
        self,
        name: str,
        *,
        parent: str = "",
        attributes: Attributes | None = None,
        is_server: bool = False,
        at: float | None = None,
    ) -> ExportedSpan:
        span = self._tracer.start_span(
            name,
            context=_propagator.extract({"traceparent": parent}) if parent else Context(),
            kind=trace.SpanKind.SERVER if is_server else trace.SpanKind.INTERNAL,
            attributes=dict(attributes or {}),
            start_time=_nanoseconds(at),
        )
        return ExportedSpan(span)

    def flush(self) -> bool:
        return self._provider.force_flush(_TIMEOUT * 1000)

    def close(self) -> None:
        """Send the rest."""
        self._provider.shutdown()


def _nanoseconds(at: float | None) -> int | None:
    return int((time.time() if at is None else at) * 1e9)
