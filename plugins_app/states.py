"""Through which states a plugin passes, and which step leads where. No Django."""

from __future__ import annotations

from enum import StrEnum


class PluginState(StrEnum):
    """Where a plugin stands.

    Discovered: found and sound, waits for somebody's approval. Validated: approved, never loaded.
    Rejected: what is wrong with it stands in `problem`. Loaded: every worker shall run it. Unloaded:
    it ran once and shall not now. The table holds one of these.

    Active and degraded is what the workers report of a loaded one: all run it well, or not.
    """

    DISCOVERED = "discovered"
    VALIDATED = "validated"
    REJECTED = "rejected"
    LOADED = "loaded"
    ACTIVE = "active"
    DEGRADED = "degraded"
    UNLOADED = "unloaded"


STORED_STATES = (
    PluginState.DISCOVERED,
    PluginState.VALIDATED,
    PluginState.REJECTED,
    PluginState.LOADED,
    PluginState.UNLOADED,
)

_RUNNING = {PluginState.LOADED, PluginState.ACTIVE, PluginState.DEGRADED}
# Its files may break, change or vanish at any time.
_FILES_CHANGED = {PluginState.DISCOVERED, PluginState.REJECTED}
TRANSITIONS: dict[PluginState, set[PluginState]] = {
    PluginState.DISCOVERED: {PluginState.VALIDATED, PluginState.LOADED, PluginState.UNLOADED}
    | _FILES_CHANGED,
    PluginState.VALIDATED: {PluginState.LOADED} | _FILES_CHANGED,
    PluginState.REJECTED: {PluginState.VALIDATED, PluginState.LOADED, PluginState.UNLOADED}
    | _FILES_CHANGED,
    **{state: _RUNNING | {PluginState.UNLOADED} | _FILES_CHANGED for state in _RUNNING},
    PluginState.UNLOADED: {PluginState.LOADED} | _FILES_CHANGED,
}


def next_state(
    now: PluginState, *, is_sound: bool, is_approved: bool, is_enabled: bool
) -> PluginState:
    """What follows from the files, the approval and the wish. Raises ValueError for a step amiss."""
    if not is_sound:
        found = PluginState.REJECTED
    elif not is_approved:
        found = PluginState.DISCOVERED
    elif is_enabled:
        found = PluginState.LOADED
    else:
        was_loaded = now in _RUNNING or now is PluginState.UNLOADED
        found = PluginState.UNLOADED if was_loaded else PluginState.VALIDATED
    if found is not now and found not in TRANSITIONS[now]:
        raise ValueError(f"a plugin that is {now} does not become {found}")
    return found
