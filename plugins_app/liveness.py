"""Every plugin in every worker as a part of the installation: it runs, or why it does not."""

from __future__ import annotations

import redis

from monitoring.health import ProbeResult, register_parts
from plugins_app.breaker import BreakerState
from plugins_app.presence import PluginReport, read_reports
from plugins_app.runners.base import RunnerState

_WELL = (RunnerState.READY, RunnerState.STARTING)


def register() -> None:
    register_parts("plugins", plugin_parts)


def plugin_parts() -> list[ProbeResult]:
    """None at all where Redis is away: its probe says so."""
    try:
        reports = read_reports()
    except redis.RedisError:
        return []
    return [
        ProbeResult(f"plugin:{worker}/{slug}", _is_well(report), _told(report), 0.0)
        for worker, plugins in reports.items()
        for slug, report in sorted(plugins.items())
    ]


def _is_well(report: PluginReport) -> bool:
    return report.state in _WELL and report.breaker is not BreakerState.OPEN


def _told(report: PluginReport) -> str:
    """Why it does not run stands with the plugin: whoever sees the status need not see that."""
    place = "in the worker" if report.pid is None else f"process {report.pid}"
    told = f"{report.state.value}, {place}, {report.restarts} restarts"
    return f"{told}; its breaker is open" if report.breaker is BreakerState.OPEN else told
