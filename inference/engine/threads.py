"""How OpenMP's threads wait. Must be set before torch is imported, which starts the runtime."""

from __future__ import annotations

import os

# Spins of a thread that waits for its siblings before it sleeps. GNU OpenMP's default (300,000, some
# milliseconds) suits a machine that does nothing else; here web and worker share the cores, and a
# spinning thread then keeps the very sibling it waits for from running: measured with a second busy
# process on two cores, steps took twice as long as with this value, and alone no longer.
_SPIN_COUNT = "1000"


def calm_waiting_threads() -> None:
    """Let OpenMP's threads give way soon, unless the environment says otherwise."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)
