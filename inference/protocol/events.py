"""The wire from worker to web: what a job's Redis Stream holds, in JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

from inference.protocol.words import (
    Choice,
    FinishReason,
    PromptLogprobs,
    Timings,
    TokenLogprob,
    Usage,
)
from llamagpu.lib.error_codes import ErrorCode


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """Text to append to the answer `index`, of `n`.

    `position` is the index of the last token of that answer that it stands for, from 0.
    """

    text: str
    position: int
    logprobs: tuple[TokenLogprob, ...] = ()
    index: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether it only counts tokens, whose text a plugin holds back."""
        return not self.text and not self.logprobs

    def joined_by(self, after: TokenEvent) -> TokenEvent:
        """Both as one piece of their answer."""
        return TokenEvent(
            text=self.text + after.text,
            position=after.position,
            logprobs=self.logprobs + after.logprobs,
            index=after.index,
        )


@dataclass(frozen=True, slots=True)
class RestartEvent:
    """A new attempt begins: drop the text of the attempts before."""

    attempt: int


@dataclass(frozen=True, slots=True)
class DoneEvent:
    """The job succeeded and its row is settled.

    Where `n` answers were asked for, `choices` holds all of them in order. `plugins` names all that
    acted, `plugins_after` those of them that acted on the answer. The rest is as in `Finished`.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    model: str
    backend: str
    plugins: tuple[str, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None
    choices: tuple[Choice, ...] = ()
    plugins_after: tuple[str, ...] = ()
    prompt_logprobs: PromptLogprobs | None = None
    embeddings: tuple[bytes, ...] = ()

    @property
    def plugins_before(self) -> tuple[str, ...]:
        """Those that acted on the prompt."""
        return self.plugins[: len(self.plugins) - len(self.plugins_after)]


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The job failed, was cancelled or ran out of time, and its row is settled.

    `usage` counts what its last attempt computed.
    """

    code: ErrorCode
    message: str
    usage: Usage = field(default_factory=Usage)


StreamEvent = TokenEvent | RestartEvent | DoneEvent | ErrorEvent
