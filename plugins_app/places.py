"""The wanted plugins of a worker, each with what runs of it.."""

from __future__ import annotations

from dataclasses import dataclass, replace

from plugins_app.link import Link
from plugins_app.presence import PluginReport
from plugins_app.runners.base import RunnerState
from plugins_app.spec import FailurePolicy, PluginSpec


@dataclass(slots=True)
class Place:
    """One wanted plugin: what runs of it, and how the newest try went."""

    spec: PluginSpec
    link: Link | None = None
    #: -1: none.
    tried_generation: int = -1
    is_loading: bool = False
    error: str = ""
    #: In its place while nothing runs and requests must not go on without it.
    stand_in: Link | None = None


def chosen_of(place: Place) -> Link | None:
    """What stands for a plugin in the line-up."""
    if place.link is not None:
        return place.link
    return place.stand_in if place.spec.policy is FailurePolicy.FAIL_CLOSED else None


def is_same_but_placed_otherwise(old: PluginSpec, new: PluginSpec) -> bool:
    """Whether only its order, policy, models or roles have changed: it can go on as it runs.

    Nothing has changed at all where it was reloaded.
    """
    moved = replace(
        old,
        order=new.order,
        policy=new.policy,
        models=new.models,
        roles=new.roles,
        generation=new.generation,
    )
    return moved == new and replace(old, generation=new.generation) != new


def report_on(place: Place) -> PluginReport:
    link = place.link
    if link is None:
        state = RunnerState.STARTING if place.is_loading else RunnerState.FAILED
        return PluginReport(
            state=state,
            error=place.error,
            version=place.spec.version,
            tried_generation=max(0, place.tried_generation),
        )
    found = link.runner.report()
    return PluginReport(
        state=found.state,
        error=place.error or found.error,
        version=link.spec.version,
        generation=link.spec.generation,
        tried_generation=place.tried_generation,
        pid=found.pid,
        resident_bytes=found.resident_bytes,
        restarts=found.restarts,
        breaker=link.breaker.state,
        isolation=found.isolation,
    )
