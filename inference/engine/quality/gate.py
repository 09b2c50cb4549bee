"""Measures a reference and what is to be judged, one process after another (no torch here)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from inference.engine.errors import EngineError, LoadError
from inference.engine.quality.comparison import Comparison, QualityResult, compare
from inference.engine.quality.task import Outcome, Subject, Task, read_outcome, write_task
from inference.engine.quality.windows import WINDOW_LENGTH, text_windows
from inference.model_files import ModelFilesError, read_model_files
from inference.tokenizer import Tokenizer, TokenizerError

CHILD: tuple[str, ...] = (sys.executable, "-m", "inference.engine.quality.child")
_PROJECT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One subject beside the reference; seconds of the subject's own process."""

    subject: Subject
    comparison: Comparison
    load_seconds: float
    measure_seconds: float


def judge(
    reference: Subject, subjects: Sequence[Subject], *, num_tokens: int | None = None
) -> Iterator[Judgement]:
    """Measure `reference`, then each subject; one judgement per subject as soon as it is there.

    `num_tokens` cuts the text. Raises EngineError (LoadError and its kind among them) naming the
    subject and the reason.
    """
    windows = _windows(Path(reference.model), num_tokens)
    # Not decoded, so that a wrong decode path cannot hide behind the reference's own.
    expected, _ = _measure(Task(reference, windows, as_prompt=True))
    for subject in subjects:
        result, outcome = _measure(Task(subject, windows))
        yield Judgement(
            subject,
            compare(result, expected),
            load_seconds=outcome.load_seconds,
            measure_seconds=outcome.measure_seconds,
        )


def _windows(path: Path, num_tokens: int | None) -> list[list[int]]:
    try:
        length = min(WINDOW_LENGTH, read_model_files(path).max_model_len)
        return text_windows(Tokenizer.load(path), length=length, num_tokens=num_tokens)
    except (ModelFilesError, TokenizerError) as error:
        raise LoadError(str(error)) from error


def _measure(task: Task) -> tuple[QualityResult, Outcome]:
    title = task.subject.title
    with tempfile.TemporaryDirectory(prefix="llamagpu-quality-") as folder:
        task_file, outcome_file = Path(folder, "task"), Path(folder, "outcome")
        write_task(task_file, task)
        done = subprocess.run(
            [*CHILD, str(task_file), str(outcome_file)],
            cwd=_PROJECT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        try:
            outcome = read_outcome(outcome_file)
        except (OSError, msgspec.DecodeError) as error:
            raise EngineError(
                f"{title}: its process ended with status {done.returncode} and no result"
            ) from error
    if outcome.result is None:
        raise EngineError(f"{title}: {outcome.error}")
    return outcome.result, outcome
