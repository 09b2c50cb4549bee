"""Reads Server-Sent Events: lines go in, tokens come out, and two attempts become one answer."""

from __future__ import annotations

import json
from dataclasses import dataclass

import httpx

from llamagpu_client.answers import Result, Token, Usage, build
from llamagpu_client.errors import StreamDiverged, error_from


@dataclass
class Event:
    """A Server-Sent Event."""

    id: str = ""
    name: str = ""
    data: str = ""


class Reading:
    """What a reader has of a stream. Lines go in, tokens come out, each piece of the answer once.

    Where the server begins anew (`restart`) the tokens that it repeats are held back. `last_id` is
    where a new connection goes on. Raises LlamaGPUError for an `error` event.
    """

    def __init__(self) -> None:
        self.last_id = ""
        self.job_id = ""
        self.request_id = ""
        self.result: Result | None = None
        self._event = Event()
        self._told = ""
        self._current = ""

    def opened(self, response: httpx.Response) -> None:
        """A connection has begun. Lines that the last one left unfinished are void."""
        self._event = Event()
        self.job_id = response.headers.get("X-Job-ID", self.job_id)
        self.request_id = self.request_id or response.headers.get("X-Request-ID", "")

    def feed(self, line: str) -> Token | None:
        """Takes one line."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                self._event.id = value
            elif name == "event":
                self._event.name = value
            elif name == "data":
                self._event.data += value
            return None
        event, self._event = self._event, Event()
        return self._take(event) if event.data else None

    def _take(self, event: Event) -> Token | None:
        data = json.loads(event.data)
        self.last_id = event.id or self.last_id
        if event.name == "error":
            raise error_from(data, request_id=self.request_id, job_id=self.job_id)
        if event.name == "restart":
            self._current = ""
            return None
        if not data.get("is_complete"):
            piece = self._news(data["token"])
            return Token(piece, data["position"], data.get("logprobs")) if piece else None
        self.result = Result(
            generated_text=data["final_text"],
            finish_reason=data["finish_reason"],
            usage=build(Usage, data["usage"]),
            job_id=self.job_id,
            request_id=self.request_id,
            raw=data,
        )
        is_behind = len(self._current) < len(self._told) or not self._current
        piece = self._rest(data["final_text"]) if is_behind else ""
        return Token(piece, data["position"]) if piece else None

    def _news(self, text: str) -> str:
        self._current += text
        return self._beyond(self._current)

    def _rest(self, text: str) -> str:
        """Of a whole text, which comes alone where the tokens are not to be had any more."""
        self._current = text
        if len(text) < len(self._told):
            raise self._diverged()
        return self._beyond(text)

    def _beyond(self, text: str) -> str:
        shared = min(len(text), len(self._told))
        if text[:shared] != self._told[:shared]:
            raise self._diverged()
        piece, self._told = text[len(self._told) :], max(text, self._told, key=len)
        return piece

    def _diverged(self) -> StreamDiverged:
        return StreamDiverged(
            "The answer was begun anew and is another one than what was read already.",
            request_id=self.request_id,
            job_id=self.job_id,
        )
