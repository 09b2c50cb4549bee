"""Python's search for cycles, set up for a process that serves.

What a process has loaded at its start never becomes garbage, and a call's own objects hardly ever form a
cycle: to look at all of them as often as Python does by itself costs a tenth of a call.
"""

from __future__ import annotations

import gc

#: Objects that come to be before the youngest are looked at, and how many such looks precede one at
#: older ones.
_THRESHOLDS = (20_000, 20, 20)


def look_seldom() -> None:
    """To be called once all is loaded: what is there now is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
