"""The chunks of an upstream's answer, put together as our engines would have told them."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from inference.protocol import (
    Choice,
    Delta,
    Finished,
    FinishReason,
    Submit,
    Timings,
    TokenLogprob,
    Usage,
)
from inference.worker.remote.failures import BrokenOffError, RemoteFailure, garbage
from llamagpu.lib.error_codes import ErrorCode

_BYTES_PER_TOKEN = 4
#: Beyond any context: a count over it is nonsense, and would not fit the books.
_MAX_COUNT = 100_000_000
_REASONS = {"length": FinishReason.LENGTH}
_FILTERED = "content_filter"


class _Named(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int = 0
    function: _Named | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _TopLogprob(msgspec.Struct):
    token: str
    logprob: float


class _ChatLogprob(_TopLogprob):
    top_logprobs: list[_TopLogprob] | None = None


class _Logprobs(msgspec.Struct):
    """`content` in chats; the other ones, side by side, in plain completions."""

    content: list[_ChatLogprob] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class UsageTold(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: UsageTold | None = None
    error: Any = None


def decode_chunk(data: bytes) -> Chunk:
    """Raises RemoteFailure for what is none."""
    try:
        return msgspec.json.decode(data, type=Chunk)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise garbage() from error


class _Part:
    """One of the `n` answers as far as it has come."""

    def __init__(self, index: int, wants_logprobs: bool) -> None:
        self.index = index
        self.texts: list[str] = []
        self.logprobs: list[TokenLogprob] | None = [] if wants_logprobs else None
        self.num_tokens = 0
        self.reason: str | None = None
        self._calls: dict[int, _Named] = {}

    def take(self, choice: _Choice) -> tuple[str, tuple[TokenLogprob, ...]]:
        """What this chunk adds to the answer's text."""
        said = choice.delta or _Said()
        text = choice.text or said.content or ""
        logprobs = _logprobs_of(choice.logprobs) if choice.logprobs else ()
        self._note_calls(said.tool_calls or ())
        if text or said.tool_calls or logprobs:
            self.num_tokens += max(1, len(logprobs))
        if choice.finish_reason:
            self.reason = choice.finish_reason
            text += self._told_calls()
        if text:
            self.texts.append(text)
        if self.logprobs is not None:
            self.logprobs += logprobs
        return text, logprobs if self.logprobs is not None else ()

    def _note_calls(self, calls: Any) -> None:
        for call in calls:
            told = self._calls.setdefault(call.index, _Named("", ""))
            if call.function:
                told.name = (told.name or "") + (call.function.name or "")
                told.arguments = (told.arguments or "") + (call.function.arguments or "")

    def _told_calls(self) -> str:
        """Calls of functions in the form that a model would have written, which every door reads."""
        calls, self._calls = self._calls, {}
        return "".join(_marked(call) for _, call in sorted(calls.items()))

    def choice(self) -> Choice:
        reason = _REASONS.get(self.reason or "", FinishReason.STOP)
        logprobs = None if self.logprobs is None else tuple(self.logprobs)
        return Choice(self.index, "".join(self.texts), reason, logprobs)


class Answer:
    """All answers to one request."""

    def __init__(self, request: Submit, prompt_bytes: int) -> None:
        n = request.params.n
        self._request = request
        self._parts = [_Part(i, request.params.logprobs is not None) for i in range(n)]
        self._told: Usage | None = None
        self._guessed_prompt = estimated_prompt(prompt_bytes)

    @property
    def has_begun(self) -> bool:
        return any(part.num_tokens for part in self._parts)

    @property
    def is_complete(self) -> bool:
        return all(part.reason is not None for part in self._parts)

    @property
    def prompt_tokens(self) -> int:
        return self._guessed_prompt if self._told is None else self._told.prompt_tokens

    @property
    def usage(self) -> Usage:
        """What the upstream has counted; until it says so, an estimate by bytes and chunks."""
        if self._told is not None:
            return self._told
        if not self.has_begun:
            return Usage()
        num_tokens = sum(part.num_tokens for part in self._parts)
        return Usage(self._guessed_prompt, num_tokens, is_estimated=True)

    def take(self, chunk: Chunk) -> list[Delta]:
        """What a chunk adds. Raises RemoteFailure for nonsense and for an answer that was censored."""
        deltas = []
        for choice in chunk.choices or ():
            if not 0 <= choice.index < len(self._parts):
                raise garbage()
            part = self._parts[choice.index]
            text, logprobs = part.take(choice)
            if text or logprobs:
                deltas.append(
                    Delta(self._request.request_id, text, part.num_tokens, logprobs, choice.index)
                )
            if part.reason == _FILTERED:
                raise RemoteFailure(
                    ErrorCode.INFERENCE_FAILED, "A filter of the upstream ended the answer."
                )
        if chunk.usage is not None:
            self._told = usage_of(chunk.usage) or self._told
        return deltas

    def finished(self, timings: Timings, *, is_marked_done: bool) -> Finished:
        """The end. Raises BrokenOffError where the stream ended before the answers did."""
        if not self.is_complete and not (is_marked_done and self.has_begun):
            raise BrokenOffError
        choices = tuple(part.choice() for part in self._parts)
        first = choices[0]
        return Finished(
            request_id=self._request.request_id,
            text=first.text,
            finish_reason=first.finish_reason,
            usage=self.usage,
            timings=timings,
            logprobs=first.logprobs,
            choices=choices if len(choices) > 1 else (),
        )


def estimated_prompt(num_bytes: int) -> int:
    """Tokens of a prompt that nobody has counted."""
    return max(1, num_bytes // _BYTES_PER_TOKEN)


def usage_of(told: UsageTold) -> Usage | None:
    """None where the counts cannot be."""
    cached = told.prompt_tokens_details.cached_tokens if told.prompt_tokens_details else 0
    counts = (told.prompt_tokens, told.completion_tokens, cached or 0)
    if not all(0 <= count <= _MAX_COUNT for count in counts):
        return None
    return Usage(*counts)


def _logprobs_of(told: _Logprobs) -> tuple[TokenLogprob, ...]:
    if told.content is not None:
        return tuple(
            TokenLogprob(
                item.token,
                item.logprob,
                tuple((top.token, top.logprob) for top in item.top_logprobs or ()),
            )
            for item in told.content
        )
    tokens, values = told.tokens or [], told.token_logprobs or []
    tops = told.top_logprobs or [None] * len(tokens)
    return tuple(
        TokenLogprob(token, value or 0.0, tuple((top or {}).items()))
        for token, value, top in zip(tokens, values, tops, strict=False)
    )


def _marked(call: _Named) -> str:
    """No character of the call can be taken for the mark that ends it."""
    body = json.dumps({"name": call.name, "arguments": call.arguments}).replace("<", "\\u003c")
    return f"<tool_call>{body}</tool_call>"
