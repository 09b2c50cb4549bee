"""What calls return. Fields that a newer server adds are in `raw`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qs, urlsplit

T = TypeVar("T")


@dataclass(frozen=True)
class Usage:
    """Tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    is_estimated: bool = False


@dataclass(frozen=True)
class Result:
    """An answer in one piece. Times are seconds; None where a stream does not tell."""

    generated_text: str
    finish_reason: str
    usage: Usage
    job_id: str
    request_id: str
    model_used: str | None = None
    backend: str | None = None
    inference_time: float | None = None
    queue_time: float | None = None
    processing_time: float | None = None
    logprobs: list[dict[str, Any]] | None = None
    plugins: list[Any] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Token:
    """A piece of a streamed answer; `position` counts from 0."""

    text: str
    position: int
    logprobs: list[dict[str, Any]] | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class BatchItem:
    """What became of one input: an answer, an `error` (code, message), or the `state` so far."""

    id: str
    job_id: str | None = None
    generated_text: str | None = None
    tokens_generated: int | None = None
    inference_time: float | None = None
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    state: str | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Batch:
    """How far a batch is."""

    batch_id: str
    state: str = "queued"
    items: int = 0
    items_pending: int = 0
    items_processed: int = 0
    items_failed: int = 0
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_done(self) -> bool:
        """Nothing of it runs or waits any more."""
        return self.state in ("completed", "cancelled")


@dataclass(frozen=True)
class BatchAnswer:
    """All results, in the order of the inputs."""

    batch_id: str
    results: list[BatchItem]
    items_processed: int
    items_failed: int


@dataclass(frozen=True)
class Job:
    """A job; `content` (what was asked and answered) only from `jobs.get`, for its owner."""

    job_id: str
    request_id: str
    state: str
    model: str
    owner: str = ""
    finish_reason: str | None = None
    error: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None
    content: dict[str, Any] | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class TimelineEvent:
    """A stage of a job: when it began (RFC 3339), how many seconds it took."""

    stage: str
    at: str | None
    duration: float | None
    details: dict[str, Any]


@dataclass(frozen=True)
class Model:
    """A model: what is on the server's disk, and what of it is loaded. Sizes are bytes."""

    id: str
    state: str
    loaded: bool = False
    source: str = ""
    size: int = 0
    context_length: int = 0
    is_default: bool = False
    enabled: bool = True
    pinned: bool = False
    desired_state: str = ""
    memory: int | None = None
    backend: str | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class ModelChange:
    """What a load, an unload or a pull has come to so far; `models.progress` tells on."""

    model: str
    state: str
    desired_state: str = ""
    progress: dict[str, Any] = field(default_factory=dict)
    freed_memory: int | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Me:
    """Who the key belongs to."""

    username: str
    role: str
    rights: dict[str, Any]
    key: dict[str, Any] | None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Page(Generic[T]):
    """Part of a list; `next_cursor` gets the next part, None: there is none."""

    items: list[T]
    next_cursor: str | None


def build(cls: type[T], data: dict[str, Any]) -> T:
    """A dataclass from the fields that it knows of `data`, which it keeps as `raw`."""
    names = {item.name for item in fields(cls)}  # type: ignore[arg-type]  # any dataclass of ours
    known = {name: value for name, value in data.items() if name in names}
    if "raw" in names:
        known.setdefault("raw", data)
    return cls(**known)


def build_page(read: Callable[[dict[str, Any]], T], data: dict[str, Any]) -> Page[T]:
    """A page of a list. Only the cursor of `next` counts: its host may be another one's name."""
    cursor = parse_qs(urlsplit(data.get("next") or "").query).get("cursor", [None])[0]
    return Page([read(row) for row in data["results"]], cursor)


def build_result(data: dict[str, Any]) -> Result:
    """From the body of POST /api/infer."""
    metadata, result = data["metadata"], data["result"]
    usage = build(Usage, metadata["usage"])
    return build(Result, {**metadata, **result, "usage": usage, "raw": data})


def build_batch_answer(data: dict[str, Any]) -> BatchAnswer:
    """From the body of POST /api/batch_infer."""
    items = [build(BatchItem, row) for row in data["results"]]
    return build(BatchAnswer, {**data["metadata"], "results": items})


def build_me(data: dict[str, Any]) -> Me:
    """From the body of GET /api/me."""
    user = data["user"]
    return Me(user["username"], user["role"], data["rights"], data["key"], data)
