"""State machines of models, jobs and batches of files, with every allowed transition in one place."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        return not JOB_TRANSITIONS[self]


class JobKind(StrEnum):
    """What a job makes of its prompt."""

    GENERATE = "generate"
    EMBED = "embed"


class AttemptCause(StrEnum):
    """Why a job began again."""

    ENGINE_DIED = "engine_died"
    WORKER_GONE = "worker_gone"


_ENDS = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})

JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING}) | _ENDS,
    # Running again is a new attempt, after the engine or the worker of the last one died.
    JobState.RUNNING: frozenset({JobState.RUNNING}) | _ENDS,
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.EXPIRED: frozenset(),
}

LIVE_JOB_STATES = tuple(state for state in JobState if not state.is_final)


class FileBatchState(StrEnum):
    """As clients of OpenAI's API know them."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return not FILE_BATCH_TRANSITIONS[self]


FILE_BATCH_TRANSITIONS: dict[FileBatchState, frozenset[FileBatchState]] = {
    FileBatchState.VALIDATING: frozenset(
        {FileBatchState.IN_PROGRESS, FileBatchState.FAILED, FileBatchState.CANCELLING}
    ),
    FileBatchState.IN_PROGRESS: frozenset({FileBatchState.FINALIZING, FileBatchState.CANCELLING}),
    FileBatchState.FINALIZING: frozenset(
        {FileBatchState.COMPLETED, FileBatchState.FAILED, FileBatchState.EXPIRED}
    ),
    FileBatchState.CANCELLING: frozenset({FileBatchState.CANCELLED}),
    FileBatchState.COMPLETED: frozenset(),
    FileBatchState.FAILED: frozenset(),
    FileBatchState.EXPIRED: frozenset(),
    FileBatchState.CANCELLED: frozenset(),
}

LIVE_FILE_BATCH_STATES = tuple(state for state in FileBatchState if not state.is_final)


class ModelState(StrEnum):
    """The first four stand in the table of models: what the disk holds, or is about to.

    `removed` is a model that somebody deleted and whose jobs still name it. The other states are what
    workers report of their engines.
    """

    ABSENT = "absent"
    AVAILABLE = "available"
    DOWNLOADING = "downloading"
    REMOVED = "removed"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    FAILED = "failed"


STORED_MODEL_STATES = (
    ModelState.ABSENT,
    ModelState.AVAILABLE,
    ModelState.DOWNLOADING,
    ModelState.REMOVED,
)


class DesiredState(StrEnum):
    """What people want of a model. `automatic`: the default model is loaded at start, others at need.

    `ready` loads it and brings it back; `unloaded` ends it until a request needs it again.
    """

    AUTOMATIC = "automatic"
    READY = "ready"
    UNLOADED = "unloaded"


def sources_of(state: JobState) -> tuple[str, ...]:
    """The states from which a job may enter `state`: the condition of a safe UPDATE."""
    return tuple(source.value for source, targets in JOB_TRANSITIONS.items() if state in targets)
