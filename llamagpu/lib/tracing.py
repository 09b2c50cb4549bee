"""Spans of what happens, for OpenTelemetry. Off, it costs a comparison: nothing of it is imported.

A trace comes in and goes on as a `traceparent` of W3C, a text. Without one that is valid a new trace
begins. What is told of a span must hold no prompt; `tells_content` is where somebody has asked for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Attributes: TypeAlias = Mapping[str, str | int | float | bool | list[str]]

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


class Span(Protocol):
    """`traceparent` names it to whatever happens inside of it, also in other processes."""

    @property
    def traceparent(self) -> str: ...
    def event(self, name: str) -> None: ...
    def end(
        self,
        attributes: Attributes | None = None,
        *,
        name: str = "",
        error: str = "",
        at: float | None = None,
    ) -> None: ...


class Tracer(Protocol):
    def begin(
        self,
        name: str,
        *,
        parent: str = "",
        attributes: Attributes | None = None,
        is_server: bool = False,
        at: float | None = None,
    ) -> Span: ...
    def flush(self) -> bool: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class CallTrace:
    """The HTTP request that is being served; `admitted_at` is when its job was on its way."""

    span: Span
    received_at: float
    admitted_at: float | None = None


#: Of the call that the current context serves; None outside of one, and where tracing is off.
current_call: ContextVar[CallTrace | None] = ContextVar("current_call_trace", default=None)

_tracer: Tracer | None = None
_tells_content = False


def start(
    endpoint: str, component: str, *, sampled_percent: int = 100, tells_content: bool = False
) -> None:
    """From now on spans go to the OTLP receiver at `endpoint`. Nothing where it is empty."""
    global _tracer, _tells_content
    if not endpoint or _tracer is not None:
        return
    from llamagpu.lib.trace_export import ExportingTracer

    _tracer = ExportingTracer(endpoint, component, sampled_percent)
    _tells_content = tells_content


def stop() -> None:
    """Send the rest; from now on nothing is traced."""
    global _tracer, _tells_content
    if _tracer is not None:
        _tracer.close()
    _tracer, _tells_content = None, False


def flush() -> None:
    """Wait until what has ended is sent, or has failed to be."""
    if _tracer is not None:
        _tracer.flush()


def tracer() -> Tracer | None:
    """None where tracing is off."""
    return _tracer


def tells_content() -> bool:
    """Whether prompts and answers may be told."""
    return _tells_content


def is_traceparent(text: str) -> bool:
    return bool(_TRACEPARENT.fullmatch(text))


def record(
    name: str, start_at: float, end_at: float, parent: str, attributes: Attributes | None = None
) -> None:
    """A span that is over already; seconds since the epoch."""
    if _tracer is not None:
        span = _tracer.begin(name, parent=parent, attributes=attributes, at=start_at)
        span.end(at=max(start_at, end_at))
