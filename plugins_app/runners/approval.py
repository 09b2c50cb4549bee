"""A plugin runs only as it was approved: its files are looked at when it is loaded."""

from __future__ import annotations

from plugins_app.fingerprint import FingerprintError, read_sources
from plugins_app.runners.base import PluginLoadError
from plugins_app.spec import PluginSpec


class PluginChangedError(PluginLoadError):
    """The files are not those that were approved; trying again does not help."""


def approved_sources(spec: PluginSpec) -> dict[str, bytes]:
    """Its Python files, as they were approved: they are loaded from here, and not read again.

    Raises PluginLoadError.
    """
    try:
        found, sources = read_sources(spec.path)
    except FingerprintError as error:
        raise PluginLoadError(f"its source {error}") from error
    if found != spec.sha256:
        raise PluginChangedError("its files have changed since they were approved")
    return sources
