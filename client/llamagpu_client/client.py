"""The client: one object for one server and one key."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any, TypeVar

import httpx

from llamagpu_client import calls
from llamagpu_client.answers import Batch, BatchAnswer, Me, Result
from llamagpu_client.calls import Call, Prompt
from llamagpu_client.errors import LlamaGPUError
from llamagpu_client.reading import Reading
from llamagpu_client.resources import Batches, Jobs, Models, Watch
from llamagpu_client.sending import (
    DEFAULT_TIMEOUT,
    Settings,
    cut_off,
    read_answer,
    refusal,
    request_arguments,
    wait_before_retry,
)
from llamagpu_client.streams import Stream

T = TypeVar("T")


class Client:
    """Calls of a server at `base_url` (such as `http://127.0.0.1:5000`) with `api_key`.

    `timeout` is in seconds, or an `httpx.Timeout`. A call that the server asks to repeat, or whose
    connection breaks, is sent up to `max_retries` more times, never so that it would run twice; with 0
    a caller who leaves ends its job at once. `transport` is for tests and proxies. Use it in a `with`
    block or `close` it. All methods raise LlamaGPUError.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        timeout: httpx.Timeout | float = DEFAULT_TIMEOUT,
        max_retries: int = 2,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        settings = Settings(base_url, api_key, timeout, max_retries)
        self._http = httpx.Client(transport=transport, **settings.for_httpx())
        self._max_retries = max_retries
        self.jobs = Jobs(self._send)
        self.models = Models(self._send)
        self.batches = Batches(self._send)

    def infer(self, prompt: Prompt, **params: Any) -> Result:
        """The whole answer to a text or a list of messages."""
        return self._send(calls.infer(prompt, params, has_key=self._has_keys))

    def stream(self, prompt: Prompt, **params: Any) -> Stream:
        """The answer token by token. Goes on where it was when the connection is cut."""
        has_key = self._has_keys
        body = {"resumable": has_key, **calls.prompt_fields(prompt, params)}
        call = calls.stream(body, has_key=has_key)
        return Stream(
            lambda: self._open(call), self._resume, self._leave, time.sleep, self._max_retries
        )

    def batch(
        self, inputs: Sequence[Any], *, on_progress: Watch | None = None, **params: Any
    ) -> BatchAnswer:
        """Answers to many inputs, once all have ended; `on_progress` is told how far it is meanwhile."""
        if on_progress:
            return self.batches.wait(self.start_batch(inputs, **params).batch_id, on_progress)
        return self._send(calls.batch(inputs, params, has_key=self._has_keys))

    def start_batch(self, inputs: Sequence[Any], **params: Any) -> Batch:
        """The same without waiting: `batches.wait` and `batches.results` tell on."""
        return self._send(calls.start_batch(inputs, params, has_key=self._has_keys))

    def me(self) -> Me:
        """Who the key belongs to, and what it may do."""
        return self._send(calls.me())

    def limits(self) -> list[dict[str, Any]]:
        """What holds for the caller, and what is left of it."""
        return self._send(calls.limits())

    def close(self) -> None:
        """Ends all connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def _has_keys(self) -> bool:
        return self._max_retries > 0

    def _send(self, call: Call[T], /) -> T:
        response = self._request(call, is_streamed=False)
        return read_answer(call, response)

    def _open(self, call: Call[Any]) -> httpx.Response:
        response = self._request(call, is_streamed=True)
        if response.status_code == 200:
            return response
        response.read()
        raise refusal(response)

    def _request(self, call: Call[Any], *, is_streamed: bool) -> httpx.Response:
        tries = 0
        while True:
            tries += 1
            request = self._http.build_request(**request_arguments(call))
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.send(request, stream=is_streamed)
            except httpx.TransportError as error:
                outcome = error
            wait = wait_before_retry(call, outcome, tries) if tries <= self._max_retries else None
            if wait is None:
                if isinstance(outcome, Exception):
                    raise cut_off(outcome) from outcome
                return outcome
            if isinstance(outcome, httpx.Response):
                outcome.close()
            time.sleep(wait)

    def _resume(self, reading: Reading) -> httpx.Response:
        return self._open(calls.resume(reading.job_id, reading.last_id))

    def _leave(self, job_id: str) -> None:
        with contextlib.suppress(LlamaGPUError):  # its grace ends it then
            self._send(calls.cancel_job(job_id))
