"""Every call as data: what is sent, and how its answer is read. Both clients send these."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from llamagpu_client.answers import (
    Batch,
    BatchAnswer,
    BatchItem,
    Job,
    Me,
    Model,
    ModelChange,
    Page,
    Result,
    TimelineEvent,
    build,
    build_batch_answer,
    build_me,
    build_page,
    build_result,
)

T = TypeVar("T")
#: A prompt is one user turn, or a conversation of {role, content}.
Prompt = str | Sequence[dict[str, str]]


@dataclass(frozen=True)
class Call(Generic[T]):
    """`is_repeatable`: sent twice it does no more than sent once, so a broken connection may be retried."""

    method: str
    path: str
    read: Callable[[Any], T]
    json: Any = None
    params: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    is_repeatable: bool = True


def prompt_fields(prompt: Prompt, params: dict[str, Any]) -> dict[str, Any]:
    """The body of a generating call. Parameters that are None count as not given."""
    name = "text" if isinstance(prompt, str) else "messages"
    given = {key: value for key, value in params.items() if value is not None}
    return {name: prompt if isinstance(prompt, str) else list(prompt), **given}


def once() -> dict[str, str]:
    """A key of its own: however often the call is sent, it runs and is billed once."""
    return {"Idempotency-Key": str(uuid.uuid4())}


def infer(prompt: Prompt, params: dict[str, Any], *, has_key: bool) -> Call[Result]:
    """With a key the server lets the job go on for a while when its caller is cut off."""
    return _making("infer", prompt_fields(prompt, params), build_result, has_key=has_key)


def stream(body: dict[str, Any], *, has_key: bool) -> Call[None]:
    """Answered with Server-Sent Events, which `Reading` reads."""
    return _making("stream_infer", body, lambda data: None, has_key=has_key)


def resume(job_id: str, last_id: str) -> Call[None]:
    """The events after `last_id`; all of them where it is empty."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    return Call("GET", f"jobs/{_part(job_id)}/events", lambda data: None, headers=headers)


def batch(inputs: Sequence[Any], params: dict[str, Any], *, has_key: bool) -> Call[BatchAnswer]:
    """Answered when all inputs have ended."""
    return _making(
        "batch_infer", _batch_fields(inputs, params), build_batch_answer, has_key=has_key
    )


def start_batch(inputs: Sequence[Any], params: dict[str, Any], *, has_key: bool) -> Call[Batch]:
    """Answered at once; `batches` tells on."""
    body = {**_batch_fields(inputs, params), "async": True}
    return _making("batch_infer", body, lambda data: build(Batch, data), has_key=has_key)


def read_batch(batch_id: str, cursor: str | None) -> Call[tuple[Batch, Page[BatchItem]]]:
    """How far it is, and a page of its results."""
    return Call(
        "GET",
        f"batches/{_part(batch_id)}",
        lambda data: (
            build(Batch, data["batch"]),
            build_page(lambda row: build(BatchItem, row), data),
        ),
        params={"limit": 200} | ({"cursor": cursor} if cursor else {}),
    )


def list_batches(params: dict[str, Any]) -> Call[Page[Batch]]:
    """Newest first."""
    return Call("GET", "batches", lambda d: build_page(lambda r: build(Batch, r), d), params=params)


def cancel_batch(batch_id: str) -> Call[Batch]:
    """Ends what has not ended."""
    return Call("DELETE", f"batches/{_part(batch_id)}", lambda data: build(Batch, data["batch"]))


def list_jobs(params: dict[str, Any]) -> Call[Page[Job]]:
    """Newest first."""
    return Call("GET", "jobs", lambda d: build_page(lambda r: build(Job, r), d), params=params)


def read_job(job_id: str) -> Call[Job]:
    """One job, with what is kept of its texts."""
    return Call("GET", f"jobs/{_part(job_id)}", _job)


def cancel_job(job_id: str) -> Call[Job]:
    """Ends it; one that has ended stays as it is."""
    return Call("DELETE", f"jobs/{_part(job_id)}", _job)


def read_timeline(job_id: str) -> Call[list[TimelineEvent]]:
    """Why it took so long."""
    return Call(
        "GET",
        f"jobs/{_part(job_id)}/timeline",
        lambda data: [build(TimelineEvent, event) for event in data["events"]],
    )


def list_models() -> Call[list[Model]]:
    """Those that the key may use."""
    return Call("GET", "models", lambda data: [build(Model, row) for row in data["models"]])


def read_model(name: str) -> Call[Model]:
    """One model."""
    return Call("GET", f"models/{_part(name)}", _model)


def register_model(source: str, fields: dict[str, Any]) -> Call[Model]:
    """Sent twice, the second one is a conflict: not repeated over a broken connection."""
    body = {"source": source, **fields}
    return Call("POST", "models", _model, json=body, is_repeatable=False)


def change_model(name: str, fields: dict[str, Any]) -> Call[Model]:
    """Its settings and limits."""
    return Call("PATCH", f"models/{_part(name)}", _model, json=fields)


def delete_model(name: str, *, files: bool | None) -> Call[ModelChange]:
    """Sent twice, the second one finds nothing: not repeated over a broken connection."""
    params = {} if files is None else {"files": str(files).lower()}
    return Call("DELETE", f"models/{_part(name)}", _change, params=params, is_repeatable=False)


def lead_model(name: str, verb: str, fields: dict[str, Any] | None = None) -> Call[ModelChange]:
    """`verb` is load, unload or pull: each says what shall be, so it may be said twice."""
    return Call("POST", f"models/{_part(name)}/{verb}", _change, json=fields)


def cancel_pull(name: str) -> Call[Model]:
    """Ends a download."""
    return Call("DELETE", f"models/{_part(name)}/pull", _model)


def model_progress(name: str) -> Call[dict[str, Any]]:
    """State, stage and fraction of a load or a download."""
    return Call("GET", f"models/{_part(name)}/progress", lambda data: dict(data["progress"]))


def me() -> Call[Me]:
    """Who the key belongs to."""
    return Call("GET", "me", build_me)


def limits() -> Call[list[dict[str, Any]]]:
    """What holds for the caller, and what is left of it."""
    return Call("GET", "me/limits", lambda data: list(data["limits"]))


def _making(path: str, body: dict[str, Any], read: Callable[[Any], T], *, has_key: bool) -> Call[T]:
    headers = once() if has_key else {}
    return Call("POST", path, read, json=body, headers=headers, is_repeatable=has_key)


def _batch_fields(inputs: Sequence[Any], params: dict[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in params.items() if value is not None}
    return {"inputs": list(inputs), **given}


def _job(data: Any) -> Job:
    return build(Job, data["job"])


def _model(data: Any) -> Model:
    return build(Model, data["model"])


def _change(data: Any) -> ModelChange:
    return build(ModelChange, data)


def _part(name: str) -> str:
    return quote(name, safe="")
