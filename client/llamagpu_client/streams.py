"""Streams of tokens: iterators that go on over cut connections and end their job when left early."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx

from llamagpu_client.answers import Result, Token
from llamagpu_client.errors import LlamaGPUError, StreamDiverged
from llamagpu_client.reading import Reading
from llamagpu_client.sending import backoff, cut_off

_CUT = "the stream ended in the middle"


class _Stream:
    """What both kinds share: how far they are, and what a cut connection means."""

    def __init__(self, max_retries: int) -> None:
        self._reading = Reading()
        self._max_retries = max_retries
        self._failures = 0
        self._has_ended = False

    @property
    def job_id(self) -> str:
        """The job's id, empty until the server has answered."""
        return self._reading.job_id

    @property
    def request_id(self) -> str:
        """The request's id, empty until the server has answered."""
        return self._reading.request_id

    @property
    def result(self) -> Result:
        """The whole answer. Raises RuntimeError before the stream has ended."""
        if self._reading.result is None:
            raise RuntimeError("the stream has not ended")
        return self._reading.result

    def _take(self, line: str) -> Token | None:
        try:
            token = self._reading.feed(line)
        except LlamaGPUError as error:
            self._has_ended = not isinstance(error, StreamDiverged)
            raise
        if self._reading.result is not None:
            self._has_ended = True
        if token is not None:
            self._failures = 0
        return token

    def _pause_after(self, error: Exception) -> float:
        """Seconds until the stream is resumed. Raises ConnectionFailed where it is not."""
        self._failures += 1
        if not self.job_id or self._failures > self._max_retries:
            raise cut_off(error, self.job_id or None) from error
        return backoff(self._failures)

    @property
    def _must_cancel(self) -> bool:
        """The reader leaves before the end, and the server would wait for it to come back."""
        return bool(self.job_id) and not self._has_ended


class Stream(_Stream):
    """Tokens as they are made: iterate over it, in a `with` block or not. Leaving early ends the job."""

    def __init__(
        self,
        opening: Callable[[], httpx.Response],
        resuming: Callable[[Reading], httpx.Response],
        cancelling: Callable[[str], None],
        sleep: Callable[[float], None],
        max_retries: int,
    ) -> None:
        super().__init__(max_retries)
        self._opening, self._resuming = opening, resuming
        self._cancelling, self._sleep = cancelling, sleep
        self._response: httpx.Response | None = None

    def __iter__(self) -> Iterator[Token]:
        try:
            while not self._has_ended:
                try:
                    response = self._connect()
                    for line in response.iter_lines():
                        if (token := self._take(line)) is not None:
                            yield token
                    if not self._has_ended:
                        raise httpx.RemoteProtocolError(_CUT)
                except httpx.TransportError as error:
                    self._drop()
                    self._sleep(self._pause_after(error))
        finally:
            self.close()

    def _connect(self) -> httpx.Response:
        if self._response is None:
            resumes = bool(self.job_id)
            self._response = self._resuming(self._reading) if resumes else self._opening()
            self._reading.opened(self._response)
        return self._response

    def __enter__(self) -> Stream:
        self._connect()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and the job where it has not ended."""
        self._drop()
        if self._must_cancel:
            self._has_ended = True
            self._cancelling(self.job_id)

    def _drop(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()


class AsyncStream(_Stream):
    """The same for `async for`. Who leaves it early without `async with` ends the job a moment later."""

    def __init__(
        self,
        opening: Callable[[], Awaitable[httpx.Response]],
        resuming: Callable[[Reading], Awaitable[httpx.Response]],
        cancelling: Callable[[str], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]],
        max_retries: int,
    ) -> None:
        super().__init__(max_retries)
        self._opening, self._resuming = opening, resuming
        self._cancelling, self._sleep = cancelling, sleep
        self._response: httpx.Response | None = None

    async def __aiter__(self) -> AsyncIterator[Token]:
        try:
            while not self._has_ended:
                try:
                    response = await self._connect()
                    async for line in response.aiter_lines():
                        if (token := self._take(line)) is not None:
                            yield token
                    if not self._has_ended:
                        raise httpx.RemoteProtocolError(_CUT)
                except httpx.TransportError as error:
                    await self._drop()
                    await self._sleep(self._pause_after(error))
        finally:
            await self.close()

    async def _connect(self) -> httpx.Response:
        if self._response is None:
            resumes = bool(self.job_id)
            self._response = await (self._resuming(self._reading) if resumes else self._opening())
            self._reading.opened(self._response)
        return self._response

    async def __aenter__(self) -> AsyncStream:
        await self._connect()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection, and the job where it has not ended."""
        await self._drop()
        if self._must_cancel:
            self._has_ended = True
            await self._cancelling(self.job_id)

    async def _drop(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()
