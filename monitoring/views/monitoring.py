"""The page of what runs where: services, machines, GPUs, workers and engines, processes, history."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from llamagpu.http.pages import PageView
from llamagpu.http.permissions import READ_MONITORING
from monitoring.history.series import SERIES
from monitoring.monitor.system_metrics import describe_gpu
from monitoring.snapshot import read_reports, take_snapshot
from monitoring.views.overview import RANGES

# Series that are drawn first: one chart each.
_FIRST = (
    "cpu_usage", "memory_usage", "generation_tokens_per_second", "latency_p95", "kv_cache_usage",
    "engine_rss",
)  # fmt: skip


class MonitoringPage(PageView):
    """GET /monitoring; with `?part=now` the tables alone, which the page's script puts in their place."""

    access = READ_MONITORING
    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        snapshot = take_snapshot()
        context: dict[str, Any] = {
            "snapshot": snapshot,
            "workers": snapshot.get("workers", []),
            "nodes": list(_nodes()),
        }
        if request.GET.get("part") == "now":
            return render(request, "monitoring/monitoring_now.html", context)
        context |= {
            "ranges": [choice for choice in RANGES if choice[0] != "live"],
            "series": sorted(SERIES),
            "first": _FIRST,
        }
        return render(request, "monitoring/monitoring.html", context)


def _nodes() -> list[dict[str, Any]]:
    """Each machine as its monitor has read it last; `reading` is None for one that is silent."""
    nodes = []
    for name, report in read_reports().items():
        node: dict[str, Any] = {"name": name, "report": report, "reading": None}
        if report is not None:
            reading = report.reading
            node |= {
                "reading": reading,
                "gpus": [describe_gpu(gpu) for gpu in reading.gpus],
                "processes": [asdict(process) for process in reading.processes],
            }
        nodes.append(node)
    return nodes
