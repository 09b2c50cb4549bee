"""Stage 7/7 of the OpenAI door, its first half: the events of a call's jobs, as one flow.

A call with several prompts is several jobs, which are followed side by side. What was sent cannot
be taken back: when an attempt begins again, its text is held against what the caller has already.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from inference.openai_api.submission import Submitted
from inference.protocol import (
    Choice,
    DoneEvent,
    StreamEvent,
    TokenLogprob,
    Usage,
)
from inference.stream import Events
from inference.waiting import follow
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode

#: (number of the job, its event), or None when there is no news.
Item = tuple[int, StreamEvent] | None


async def follow_all(submitted: Submitted) -> AsyncGenerator[Item, None]:
    """The events of all jobs up to the end of each. Leaving early cancels those that still run."""
    holder = submitted.holder
    events = submitted.events or [follow(job, holder) for job in submitted.jobs]
    # What waits here is bounded by the answers' numbers of tokens.
    queue: asyncio.Queue[Item | int] = asyncio.Queue()

    async def read(number: int) -> None:
        try:
            async with aclosing(_numbered(number, events[number])) as items:
                async for item in items:
                    queue.put_nowait(item)
        finally:
            queue.put_nowait(number)

    if len(events) == 1:
        async with aclosing(_numbered(0, events[0])) as items:
            async for item in items:
                yield item
        return
    readers = [asyncio.create_task(read(number)) for number in range(len(events))]
    try:
        num_open = len(events)
        while num_open:
            news = await queue.get()
            if isinstance(news, int):
                num_open -= 1
                await readers[news]  # raises what ended it
            else:
                yield news
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _numbered(number: int, events: Events) -> AsyncGenerator[Item, None]:
    async with aclosing(events):
        async for event in events:
            yield None if event is None else (number, event[1])


@dataclass(slots=True)
class SentAnswer:
    """One answer as far as the caller has it, while a later attempt may repeat it."""

    sent: str = ""
    num_logprobs: int = 0
    _text: str = ""
    _seen_logprobs: int = 0

    def restart(self) -> None:
        self._text, self._seen_logprobs = "", 0

    def news_in(
        self, text: str, logprobs: Sequence[TokenLogprob]
    ) -> tuple[str, tuple[TokenLogprob, ...]]:
        """What of the newest text and log probabilities the caller does not have.

        Raises AppError INFERENCE_FAILED where a repeated answer differs from what was sent.
        """
        self._text += text
        fresh = tuple(logprobs)[max(0, self.num_logprobs - self._seen_logprobs) :]
        self._seen_logprobs += len(logprobs)
        self.num_logprobs = max(self.num_logprobs, self._seen_logprobs)
        return self._advance(self._text), fresh

    def rest_of(self, text: str) -> str:
        """What is missing of the whole text; nothing where plugins have changed what was sent."""
        return text[len(self.sent) :] if text.startswith(self.sent) else ""

    def _advance(self, text: str) -> str:
        if text.startswith(self.sent):
            news, self.sent = text[len(self.sent) :], text
            return news
        if self.sent.startswith(text):
            return ""
        raise AppError(
            ErrorCode.INFERENCE_FAILED,
            "The engine had to begin again and came to another answer than the one that was sent.",
        )


@dataclass(slots=True)
class SentAnswers:
    """Those of one call, by job and index."""

    answers: dict[tuple[int, int], SentAnswer] = field(default_factory=dict)

    def of(self, job: int, index: int) -> SentAnswer:
        return self.answers.setdefault((job, index), SentAnswer())

    def restart(self, job: int) -> None:
        for (owner, _), answer in self.answers.items():
            if owner == job:
                answer.restart()


def choices_of(done: DoneEvent) -> tuple[Choice, ...]:
    """All answers of a job that has ended well."""
    return done.choices or (Choice(0, done.text, done.finish_reason, done.logprobs),)


def sum_of(usages: Sequence[Usage]) -> Usage:
    return Usage(
        sum(usage.prompt_tokens for usage in usages),
        sum(usage.completion_tokens for usage in usages),
        sum(usage.cached_tokens for usage in usages),
    )
