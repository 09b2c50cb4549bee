from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_CODE = """
import json, os, sys, threading
from llamagpu.lib.processors import keep_to
chosen, later = keep_to(int(sys.argv[1])), []
thread = threading.Thread(target=lambda: later.extend(os.sched_getaffinity(0)))
thread.start()
thread.join()
print(json.dumps([chosen, sorted(os.sched_getaffinity(0)), sorted(later)]))
"""
ALLOWED = sorted(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("wanted", "count"), [(0, max(1, len(ALLOWED) // 2)), (1, 1), (4096, len(ALLOWED))]
)
def test_a_process_keeps_to_the_first_processors_and_so_do_its_threads(
    wanted: int, count: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CODE, str(wanted)], capture_output=True, check=True, text=True
    )
    assert json.loads(done.stdout) == [ALLOWED[:count]] * 3
