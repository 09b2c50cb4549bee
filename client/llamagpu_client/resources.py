"""What a client offers under `client.jobs`, `client.models` and `client.batches`, both kinds of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from llamagpu_client import calls
from llamagpu_client.answers import (
    Batch,
    BatchAnswer,
    BatchItem,
    Job,
    Model,
    ModelChange,
    Page,
    TimelineEvent,
)
from llamagpu_client.calls import Call

T = TypeVar("T")
Watch = Callable[[Batch], object]
_POLL = 1.0


class Send(Protocol):
    """Sends a call and gives its answer. Raises LlamaGPUError."""

    def __call__(self, call: Call[T], /) -> T: ...


class AsyncSend(Protocol):
    """The same on an event loop."""

    def __call__(self, call: Call[T], /) -> Awaitable[T]: ...


class Jobs:
    """One's jobs."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def list(self, **filters: Any) -> Page[Job]:
        """A page, newest first; `state`, `model`, `since`, `limit`, `cursor`, … choose."""
        return self._send(calls.list_jobs(filters))

    def iterate(self, **filters: Any) -> Iterator[Job]:
        """All of them, page by page."""
        while True:
            page = self.list(**filters)
            yield from page.items
            if page.next_cursor is None:
                return
            filters["cursor"] = page.next_cursor

    def get(self, job_id: str) -> Job:
        """One, with what is kept of its texts."""
        return self._send(calls.read_job(job_id))

    def cancel(self, job_id: str) -> Job:
        """Ends it; one that has ended stays as it is."""
        return self._send(calls.cancel_job(job_id))

    def timeline(self, job_id: str) -> Sequence[TimelineEvent]:
        """Why it took so long, stage by stage."""
        return self._send(calls.read_timeline(job_id))


class Models:
    """The server's models."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def list(self) -> Sequence[Model]:
        """Those that the key may use."""
        return self._send(calls.list_models())

    def get(self, name: str) -> Model:
        """One model."""
        return self._send(calls.read_model(name))

    def register(self, source: str, **fields: Any) -> Model:
        """`source` is hub:org/name@revision, wheel:name==version, path:folder or remote:address."""
        return self._send(calls.register_model(source, fields))

    def change(self, name: str, **fields: Any) -> Model:
        """Sets enabled, pinned, keep_alive, replicas or a limit."""
        return self._send(calls.change_model(name, fields))

    def delete(self, name: str, *, files: bool | None = None) -> ModelChange:
        """Takes it off the server; `files`: its files too."""
        return self._send(calls.delete_model(name, files=files))

    def load(self, name: str, **options: Any) -> ModelChange:
        """Begins to load it; `progress` tells on."""
        return self._send(calls.lead_model(name, "load", options))

    def unload(self, name: str) -> ModelChange:
        """Ends its engines; waits up to 40 seconds for their requests."""
        return self._send(calls.lead_model(name, "unload"))

    def pull(self, name: str) -> ModelChange:
        """Begins to fetch its files, or goes on with it; `progress` tells on."""
        return self._send(calls.lead_model(name, "pull"))

    def cancel_pull(self, name: str) -> Model:
        """Ends a download; what is there of it stays for the next one."""
        return self._send(calls.cancel_pull(name))

    def progress(self, name: str) -> dict[str, Any]:
        """State, stage and fraction of a load or a download."""
        return self._send(calls.model_progress(name))


class Batches:
    """One's batches."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def list(self, **filters: Any) -> Page[Batch]:
        """A page, newest first; `limit` and `cursor` choose."""
        return self._send(calls.list_batches(filters))

    def get(self, batch_id: str) -> Batch:
        """How far it is."""
        return self._send(calls.read_batch(batch_id, None))[0]

    def results(self, batch_id: str) -> Iterator[BatchItem]:
        """What has become of its inputs, in their order."""
        cursor: str | None = None
        while True:
            _, page = self._send(calls.read_batch(batch_id, cursor))
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def cancel(self, batch_id: str) -> Batch:
        """Ends what has not ended."""
        return self._send(calls.cancel_batch(batch_id))

    def wait(
        self, batch_id: str, on_progress: Watch | None = None, poll: float = _POLL
    ) -> BatchAnswer:
        """All results once it has ended; `on_progress` is told how far it is every `poll` seconds."""
        while True:
            batch = self.get(batch_id)
            if on_progress:
                on_progress(batch)
            if batch.is_done:
                results = list(self.results(batch_id))
                return BatchAnswer(batch_id, results, batch.items_processed, batch.items_failed)
            time.sleep(poll)


class AsyncJobs:
    """One's jobs."""

    def __init__(self, send: AsyncSend) -> None:
        self._send = send

    async def list(self, **filters: Any) -> Page[Job]:
        """A page, newest first; `state`, `model`, `since`, `limit`, `cursor`, … choose."""
        return await self._send(calls.list_jobs(filters))

    async def iterate(self, **filters: Any) -> AsyncIterator[Job]:
        """All of them, page by page."""
        while True:
            page = await self.list(**filters)
            for job in page.items:
                yield job
            if page.next_cursor is None:
                return
            filters["cursor"] = page.next_cursor

    async def get(self, job_id: str) -> Job:
        """One, with what is kept of its texts."""
        return await self._send(calls.read_job(job_id))

    async def cancel(self, job_id: str) -> Job:
        """Ends it; one that has ended stays as it is."""
        return await self._send(calls.cancel_job(job_id))

    async def timeline(self, job_id: str) -> Sequence[TimelineEvent]:
        """Why it took so long, stage by stage."""
        return await self._send(calls.read_timeline(job_id))


class AsyncModels:
    """The server's models."""

    def __init__(self, send: AsyncSend) -> None:
        self._send = send

    async def list(self) -> Sequence[Model]:
        """Those that the key may use."""
        return await self._send(calls.list_models())

    async def get(self, name: str) -> Model:
        """One model."""
        return await self._send(calls.read_model(name))

    async def register(self, source: str, **fields: Any) -> Model:
        """`source` is hub:org/name@revision, wheel:name==version, path:folder or remote:address."""
        return await self._send(calls.register_model(source, fields))

    async def change(self, name: str, **fields: Any) -> Model:
        """Sets enabled, pinned, keep_alive, replicas or a limit."""
        return await self._send(calls.change_model(name, fields))

    async def delete(self, name: str, *, files: bool | None = None) -> ModelChange:
        """Takes it off the server; `files`: its files too."""
        return await self._send(calls.delete_model(name, files=files))

    async def load(self, name: str, **options: Any) -> ModelChange:
        """Begins to load it; `progress` tells on."""
        return await self._send(calls.lead_model(name, "load", options))

    async def unload(self, name: str) -> ModelChange:
        """Ends its engines; waits up to 40 seconds for their requests."""
        return await self._send(calls.lead_model(name, "unload"))

    async def pull(self, name: str) -> ModelChange:
        """Begins to fetch its files, or goes on with it; `progress` tells on."""
        return await self._send(calls.lead_model(name, "pull"))

    async def cancel_pull(self, name: str) -> Model:
        """Ends a download; what is there of it stays for the next one."""
        return await self._send(calls.cancel_pull(name))

    async def progress(self, name: str) -> dict[str, Any]:
        """State, stage and fraction of a load or a download."""
        return await self._send(calls.model_progress(name))


class AsyncBatches:
    """One's batches."""

    def __init__(self, send: AsyncSend) -> None:
        self._send = send

    async def list(self, **filters: Any) -> Page[Batch]:
        """A page, newest first; `limit` and `cursor` choose."""
        return await self._send(calls.list_batches(filters))

    async def get(self, batch_id: str) -> Batch:
        """How far it is."""
        return (await self._send(calls.read_batch(batch_id, None)))[0]

    async def results(self, batch_id: str) -> AsyncIterator[BatchItem]:
        """What has become of its inputs, in their order."""
        cursor: str | None = None
        while True:
            _, page = await self._send(calls.read_batch(batch_id, cursor))
            for item in page.items:
                yield item
            if (cursor := page.next_cursor) is None:
                return

    async def cancel(self, batch_id: str) -> Batch:
        """Ends what has not ended."""
        return await self._send(calls.cancel_batch(batch_id))

    async def wait(
        self, batch_id: str, on_progress: Watch | None = None, poll: float = _POLL
    ) -> BatchAnswer:
        """All results once it has ended; `on_progress` is told how far it is every `poll` seconds."""
        while True:
            batch = await self.get(batch_id)
            if on_progress:
                on_progress(batch)
            if batch.is_done:
                results = [item async for item in self.results(batch_id)]
                return BatchAnswer(batch_id, results, batch.items_processed, batch.items_failed)
            await asyncio.sleep(poll)
