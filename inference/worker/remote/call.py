"""One request to an upstream: asked, repeated where nothing has come yet, followed to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import httpx
import msgspec

from inference.protocol import Delta, Finished, Started, Submit, Timings, Usage
from inference.worker.remote.answer import Answer, decode_chunk, estimated_prompt
from inference.worker.remote.body import EMBEDDINGS, Question, question_of
from inference.worker.remote.events import DONE, read_events
from inference.worker.remote.failures import (
    BrokenOffError,
    RemoteFailure,
    TryAgain,
    error_in_stream,
    failure_of,
    forbidden,
    garbage,
    silence,
    unreachable,
)
from inference.worker.remote.network import ForbiddenAddressError
from inference.worker.remote.target import RemoteLoad
from inference.worker.remote.vectors import most_bytes, read_vectors
from llamagpu.lib.error_codes import ErrorCode

#: How often a request is sent to an upstream that fails, and for how many seconds to one that is away; one
#: that is only busy is asked till the deadline.
MAX_TRIES = 3
AWAY_PATIENCE = 15.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_LONGEST_PAUSE_AWAY = 2.0
_MAX_ERROR_BYTES = 16 * 1024
# A chunk around one token, without and for each of its alternatives; generous.
_CHUNK_BYTES, _LOGPROB_BYTES = 2048, 512
_LEAST_STREAM_BYTES = 1024 * 1024

Emit = Callable[[Started | Delta], None]


class RemoteCall:
    """`run` returns the last event. Raises RemoteFailure, and BrokenOffError where the answer broke
    off: another attempt may end it. Cancelling it closes the connection."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        load: RemoteLoad,
        request: Submit,
        limit: int,
        emit: Emit,
        note_doubt: Callable[[], None],
    ) -> None:
        self._client = client
        self._load = load
        self._request = request
        self._limit = limit
        self._emit = emit
        self._note_doubt = note_doubt
        self._began = time.monotonic()
        self._answer: Answer | None = None
        self._first_token_at: float | None = None

    @property
    def usage(self) -> Usage:
        """What was computed so far, as far as it is known."""
        return self._answer.usage if self._answer else Usage()

    @property
    def is_receiving(self) -> bool:
        return self._first_token_at is not None

    async def run(self) -> Finished:
        question = question_of(self._request, self._load, self._limit)
        give_up_at = self._began + self._request.timeout
        patience = _Patience()
        while True:
            try:
                return await self._ask(question)
            except RemoteFailure as failure:
                is_length = failure.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
                if not (is_length and question.is_open):
                    raise
                question = question.without_bound()  # the answer may take what the prompt leaves
            except TryAgain as again:
                wait = patience.pause_after(again)
                if wait is None or time.monotonic() + wait >= give_up_at:
                    raise again.failure from None
                await asyncio.sleep(wait)

    async def _ask(self, question: Question) -> Finished:
        content = msgspec.json.encode(question.body)
        try:
            async with self._client.stream(
                "POST",
                self._load.base_url.text + question.path,
                content=content,
                headers={"Content-Type": "application/json"},
            ) as response:
                if response.status_code != 200:
                    body = await read_bounded(response, _MAX_ERROR_BYTES)
                    raise failure_of(response.status_code, response.headers, body, self._load)
                if question.path == EMBEDDINGS:
                    return await self._read_vectors(response, len(content))
                check_form(response, "text/event-stream")
                return await self._follow(response.aiter_raw(), len(content))
        except ForbiddenAddressError as error:
            raise forbidden() from error
        except httpx.ReadTimeout as error:
            raise silence(self._load) from error
        except (httpx.TransportError, OSError) as error:
            if self.is_receiving:
                raise BrokenOffError from error
            self._note_doubt()
            raise unreachable() from error

    async def _read_vectors(self, response: httpx.Response, prompt_bytes: int) -> Finished:
        check_form(response, "application/json")
        self._emit(Started(self._request.request_id, estimated_prompt(prompt_bytes), 0.0))
        body = await read_bounded(response, most_bytes(self._request))
        elapsed = time.monotonic() - self._began
        return read_vectors(
            body, self._request, prompt_bytes, Timings(ttft=elapsed, inference_time=elapsed)
        )

    async def _follow(self, chunks: AsyncIterator[bytes], prompt_bytes: int) -> Finished:
        answer = self._answer = Answer(self._request, prompt_bytes)
        is_started = is_marked_done = False
        async for data in read_events(chunks, self._most_bytes()):
            if data == DONE:
                is_marked_done = True
                break
            chunk = decode_chunk(data)
            if chunk.error is not None:
                raise self._error(chunk.error)
            deltas = answer.take(chunk)
            if not is_started:
                is_started = True
                self._emit(Started(self._request.request_id, answer.prompt_tokens, 0.0))
            if deltas and self._first_token_at is None:
                self._first_token_at = time.monotonic()
            for delta in deltas:
                self._emit(delta)
        return self._finish(answer, is_marked_done)

    def _finish(self, answer: Answer, is_marked_done: bool) -> Finished:
        now = time.monotonic()
        timings = Timings(
            ttft=(self._first_token_at or now) - self._began, inference_time=now - self._began
        )
        try:
            return answer.finished(timings, is_marked_done=is_marked_done)
        except BrokenOffError:
            if self.is_receiving:
                raise
            raise TryAgain(garbage()) from None

    def _error(self, error: object) -> Exception:
        failure = error_in_stream(error, self._load)
        if isinstance(failure, BrokenOffError) and not self.is_receiving:
            return unreachable()
        return failure

    def _most_bytes(self) -> int:
        """An answer of the asked size cannot be longer than that."""
        params = self._request.params
        per_token = _CHUNK_BYTES + _LOGPROB_BYTES * (params.logprobs or 0)
        return _LEAST_STREAM_BYTES + per_token * params.max_tokens * params.n


class _Patience:
    """How long to go on asking."""

    def __init__(self) -> None:
        self._num_failed = 0
        self._away_since: float | None = None
        self._pause = _FIRST_PAUSE

    def pause_after(self, again: TryAgain) -> float | None:
        """Seconds before the next try; None where there shall be none."""
        now = time.monotonic()
        longest = _LONGEST_PAUSE
        if again.is_away:
            self._away_since = self._away_since or now
            longest = _LONGEST_PAUSE_AWAY
            is_over = now - self._away_since >= AWAY_PATIENCE
        else:
            self._num_failed += not again.is_busy
            is_over = self._num_failed >= MAX_TRIES
        if is_over:
            return None
        pause, self._pause = self._pause, self._pause * 2
        return max(min(pause, longest), again.wait or 0.0)


async def read_bounded(response: httpx.Response, most: int) -> bytes:
    """The first `most` bytes of a body, as they came."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= most:
            break
    return bytes(body[:most])


def check_form(response: httpx.Response, media_type: str) -> None:
    """Raises RemoteFailure for another type, and for a body that would have to be unpacked."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity" or not response.headers.get("content-type", "").startswith(
        media_type
    ):
        raise garbage()
