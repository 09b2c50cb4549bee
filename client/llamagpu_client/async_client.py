"""The client for programs on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, TypeVar

import httpx

from llamagpu_client import calls
from llamagpu_client.answers import Batch, BatchAnswer, Me, Result
from llamagpu_client.calls import Call, Prompt
from llamagpu_client.errors import LlamaGPUError
from llamagpu_client.reading import Reading
from llamagpu_client.resources import AsyncBatches, AsyncJobs, AsyncModels, Watch
from llamagpu_client.sending import (
    DEFAULT_TIMEOUT,
    Settings,
    cut_off,
    read_answer,
    refusal,
    request_arguments,
    wait_before_retry,
)
from llamagpu_client.streams import AsyncStream

T = TypeVar("T")


class AsyncClient:
    """As `Client`, every method awaited; use it in an `async with` block or `close` it."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        timeout: httpx.Timeout | float = DEFAULT_TIMEOUT,
        max_retries: int = 2,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        settings = Settings(base_url, api_key, timeout, max_retries)
        self._http = httpx.AsyncClient(transport=transport, **settings.for_httpx())
        self._max_retries = max_retries
        self.jobs = AsyncJobs(self._send)
        self.models = AsyncModels(self._send)
        self.batches = AsyncBatches(self._send)

    async def infer(self, prompt: Prompt, **params: Any) -> Result:
        """The whole answer to a text or a list of messages."""
        return await self._send(calls.infer(prompt, params, has_key=self._has_keys))

    def stream(self, prompt: Prompt, **params: Any) -> AsyncStream:
        """The answer token by token. Goes on where it was when the connection is cut."""
        has_key = self._has_keys
        body = {"resumable": has_key, **calls.prompt_fields(prompt, params)}
        call = calls.stream(body, has_key=has_key)
        return AsyncStream(
            lambda: self._open(call), self._resume, self._leave, asyncio.sleep, self._max_retries
        )

    async def batch(
        self, inputs: Sequence[Any], *, on_progress: Watch | None = None, **params: Any
    ) -> BatchAnswer:
        """Answers to many inputs, once all have ended; `on_progress` is told how far it is meanwhile."""
        if on_progress:
            started = await self.start_batch(inputs, **params)
            return await self.batches.wait(started.batch_id, on_progress)
        return await self._send(calls.batch(inputs, params, has_key=self._has_keys))

    async def start_batch(self, inputs: Sequence[Any], **params: Any) -> Batch:
        """The same without waiting: `batches.wait` and `batches.results` tell on."""
        return await self._send(calls.start_batch(inputs, params, has_key=self._has_keys))

    async def me(self) -> Me:
        """Who the key belongs to, and what it may do."""
        return await self._send(calls.me())

    async def limits(self) -> list[dict[str, Any]]:
        """What holds for the caller, and what is left of it."""
        return await self._send(calls.limits())

    async def close(self) -> None:
        """Ends all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    @property
    def _has_keys(self) -> bool:
        return self._max_retries > 0

    async def _send(self, call: Call[T], /) -> T:
        response = await self._request(call, is_streamed=False)
        return read_answer(call, response)

    async def _open(self, call: Call[Any]) -> httpx.Response:
        response = await self._request(call, is_streamed=True)
        if response.status_code == 200:
            return response
        await response.aread()
        raise refusal(response)

    async def _request(self, call: Call[Any], *, is_streamed: bool) -> httpx.Response:
        tries = 0
        while True:
            tries += 1
            request = self._http.build_request(**request_arguments(call))
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._http.send(request, stream=is_streamed)
            except httpx.TransportError as error:
                outcome = error
            wait = wait_before_retry(call, outcome, tries) if tries <= self._max_retries else None
            if wait is None:
                if isinstance(outcome, Exception):
                    raise cut_off(outcome) from outcome
                return outcome
            if isinstance(outcome, httpx.Response):
                await outcome.aclose()
            await asyncio.sleep(wait)

    async def _resume(self, reading: Reading) -> httpx.Response:
        return await self._open(calls.resume(reading.job_id, reading.last_id))

    async def _leave(self, job_id: str) -> None:
        with contextlib.suppress(LlamaGPUError):  # its grace ends it then
            await self._send(calls.cancel_job(job_id))
