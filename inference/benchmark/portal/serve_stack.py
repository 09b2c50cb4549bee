"""A whole portal as a child: `python -m inference.benchmark.portal.serve_stack SERVER ROOT [CACHE]`.

Prints a line `{"port": …, "key": …}` once it answers, and serves the models under ROOT until SIGTERM, with
the web server SERVER.
What its engine has prepared is read from CACHE and kept there; without one it is made anew.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from inference.benchmark.portal.own_stack import WORKER, own_stack


def main(web_server: str, model_root: Path, cache_dir: Path | None = None) -> None:
    """Start, tell, wait."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with own_stack(web_server, model_root, worker_application=WORKER, cache_dir=cache_dir) as stack:
        sys.stdout.write(f"{json.dumps({'port': stack.port, 'key': stack.key})}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
