"""The real programs `prometheus` and `promtool`, from Debian's package where they are not here yet."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

import pytest

from tests.environment import PROJECT_ROOT

CONFIG = PROJECT_ROOT / "docker" / "prometheus"
_ENVIRONMENT = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
_UPDATE = ["apt-get", "--quiet", "update"]
_INSTALL = ["apt-get", "install", "--yes", "--no-install-recommends", "prometheus"]
DASHBOARDS = PROJECT_ROOT / "docker" / "grafana" / "dashboards"


@functools.cache
def program(name: str) -> str:
    """The path of `prometheus` or `promtool`. Without it the test fails: it proves nothing else."""
    if found := shutil.which(name):
        return found
    said = ""
    for command in (_UPDATE, _INSTALL):
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, timeout=240, check=False, env=_ENVIRONMENT
            )
            said = ended.stderr or ended.stdout
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error)
    if found := shutil.which(name):
        return found
    pytest.fail(f"{name} is not here, and `{' '.join(_INSTALL)}` did not bring it: {said[-500:]}")
