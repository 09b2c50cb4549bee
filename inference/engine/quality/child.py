"""`python -m inference.engine.quality.child TASK OUTCOME`: measures one subject and ends.

A process of its own, so that the memory of one level is surely gone before the next is loaded.
Progress goes to stderr, the outcome to the file `OUTCOME`.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from inference.engine.config import EngineConfig
from inference.engine.errors import EngineError
from inference.engine.quality.task import Outcome, Task, read_task, write_outcome
from inference.engine.threads import calm_waiting_threads
from inference.pulling.progress import BarProgress, LineProgress

if TYPE_CHECKING:
    from inference.engine.backends.base import BaseBackend

# As many sequences at once as an engine has slots by default.
_MAX_SLOTS = 32


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 once an outcome is written, be it an error; 130 interrupted."""
    task_file, outcome_file = map(Path, sys.argv[1:] if arguments is None else arguments)
    calm_waiting_threads()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    task = read_task(task_file)
    try:
        outcome = run_task(task)
    except EngineError as error:
        outcome = Outcome(error=error.message)
    except (RuntimeError, MemoryError, ValueError) as error:
        # What torch raises where the device cannot go on.
        outcome = Outcome(error=" ".join(f"{type(error).__name__}: {error}".split()))
    except KeyboardInterrupt:
        return 130
    write_outcome(outcome_file, outcome)
    return 0


def run_task(task: Task) -> Outcome:
    """Load the subject and measure it. Raises LoadError, and what `measure` raises."""
    from inference.engine.backends.selection import select_backend
    from inference.engine.loading import quieten_transformers
    from inference.engine.quality.measurement import measure

    quieten_transformers()
    subject = task.subject
    config = EngineConfig(
        num_slots=min(_MAX_SLOTS, len(task.windows)),
        max_model_len=max(len(window) for window in task.windows),
        num_threads=subject.num_threads,
        backend=subject.backend,
        dtype=subject.dtype,
        optimization_level=subject.level,
    )
    started = time.perf_counter()
    backend = select_backend(config.backend).backend
    served = backend.load_model(subject.model, config)
    reach_level(backend, subject.level)
    loaded = time.perf_counter()
    progress = BarProgress(sys.stderr) if sys.stderr.isatty() else LineProgress(sys.stderr)
    try:
        result = measure(
            backend,
            served,
            task.windows,
            as_prompt=task.as_prompt,
            progress=lambda fraction: progress.update(subject.title, fraction),
        )
    finally:
        progress.close()
    return Outcome(
        result,
        load_seconds=loaded - started,
        measure_seconds=time.perf_counter() - loaded,
    )


def reach_level(backend: BaseBackend, level: int | None) -> None:
    """Wait until the level that is to be measured serves: loading may begin with a lower one.

    None is what serving would come to by itself. Raises LoadError where `level` is not to be had.
    """
    if level is None:
        if upgrade := backend.begin_upgrade(lambda switch: switch()):
            upgrade.wait()
    elif backend.optimization_level != level:
        backend.set_optimization_level(level)


if __name__ == "__main__":
    sys.exit(main())
