"""What tracing costs a request in web, worker and engine together, off and on, in time of a core.

On, it is all that this process computes: spans, and their way to a receiver that is another process.
"""

from __future__ import annotations

import subprocess
import sys
import time
from uuid import uuid4

from django.http import HttpRequest, JsonResponse
from django.test import RequestFactory
from django.urls import resolve

from inference.benchmark.metrics_cost import Cost
from inference.call_trace import trace_admission
from inference.engine.request_spans import RequestSpans
from inference.protocol import (
    Delta,
    DoneEvent,
    EngineEvent,
    Finished,
    FinishReason,
    GenerationJob,
    Prompt,
    SamplingParams,
    Started,
    Submit,
    Timings,
    Usage,
)
from inference.worker.job_trace import JobTrace
from llamagpu.http import request_trace
from llamagpu.lib import tracing
from llamagpu.lib.percentiles import percentiles

_TOKENS = 64
#: Requests whose time is taken together: the sending of their spans is a part of it.
_BATCH = 50
_RECEIVER = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *arguments): pass
server = HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def measure_tracing(calls: int) -> list[Cost]:
    """Off always; on where OpenTelemetry is installed."""
    found = [_series("tracing a request, off", calls)]
    receiver = subprocess.Popen(
        (sys.executable, "-c", _RECEIVER), stdout=subprocess.PIPE, text=True
    )
    try:
        port = receiver.stdout.readline().strip() if receiver.stdout else ""
        tracing.start(f"http://127.0.0.1:{port}", "benchmark")
        found.append(_series("tracing a request, on", calls))
    except ImportError:
        pass  # requirements-tracing.txt is not installed
    finally:
        tracing.stop()
        receiver.terminate()
        receiver.communicate()
    return found


class _Materials:
    """What there is of a request anyway, traced or not."""

    def __init__(self) -> None:
        now, usage = time.time(), Usage(20, _TOKENS)
        request: HttpRequest = RequestFactory().post("/api/infer")
        request.resolver_match = resolve("/api/infer")
        request.request_id = "req_benchmark"  # type: ignore[attr-defined]
        self.request = request
        self.job = GenerationJob(
            str(uuid4()), 1, "req", "a", Prompt(text="Hello"), SamplingParams(), now, now + 60
        )
        started = Started(self.job.job_id, 20, 0.0)
        deltas: list[EngineEvent] = [
            Delta(self.job.job_id, "a", number + 1) for number in range(_TOKENS)
        ]
        finished = Finished(self.job.job_id, "a", FinishReason.STOP, usage, Timings())
        self.events: list[list[EngineEvent]] = [[started], *([one] for one in deltas)]
        self.events.append([finished])
        self.done = DoneEvent("a", FinishReason.STOP, usage, Timings(), "a", "cpu")


def _trace(made: _Materials, response: JsonResponse) -> None:
    """All that a call of /api/infer does of its trace, stage by stage."""
    request_trace.begin(made.request)
    (job,) = trace_admission([made.job], time.time())
    trace, engine = JobTrace(job), RequestSpans()
    trace.begin_attempt()
    command = Submit(job.job_id, job.prompt, job.params, 60.0, traceparent=trace.begin_model())
    engine.begin(command)
    for events in made.events:
        engine.note(events)
    trace.end(made.done)
    request_trace.leave(made.request)
    request_trace.end(made.request, response)


def _series(name: str, calls: int) -> Cost:
    """Each batch of requests until the last of its spans is sent."""
    taken, response = [], JsonResponse({})
    for _ in range(max(2, calls // _BATCH)):
        batch = [_Materials() for _ in range(_BATCH)]
        began = time.process_time()
        for made in batch:
            _trace(made, response)
        tracing.flush()
        taken.append((time.process_time() - began) / _BATCH * 1e6)
    figures = percentiles(taken)
    return Cost(name, len(taken) * _BATCH, figures["p50"] or 0.0, figures["p95"] or 0.0)
