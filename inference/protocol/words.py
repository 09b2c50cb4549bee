"""What the wires have in common: counts, times, log probabilities, one answer of several."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PROTOCOL_VERSION = 1


class FinishReason(StrEnum):
    """Why a generation ended well. Failures end in an `ErrorCode` instead."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one request. `cached_tokens` is the part of the prompt not computed again.

    `is_estimated`: an upstream computed it and has not told its counts.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    is_estimated: bool = False

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds that one request spent inside the engine.

    `ttft` counts from the engine's receipt to the first token, `inference_time` from the beginning of
    the computing to its end. A worker adds what came before to `queue_time`, and says of what that
    consists: `load_time` for a loaded engine, `engine_wait` in that engine's own queue.
    """

    queue_time: float = 0.0
    ttft: float = 0.0
    inference_time: float = 0.0
    load_time: float | None = None
    engine_wait: float | None = None

    @property
    def engine_time(self) -> float:
        """Seconds of waiting for the engine and of its computing. The way to it is not among them."""
        if self.engine_wait is None:
            return self.queue_time + self.inference_time
        return self.engine_wait + (self.load_time or 0.0) + self.inference_time


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural-log probability of a chosen token, and its best alternatives (text, logprob)."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


#: Of a prompt's tokens, in order; the first one follows nothing and has none.
PromptLogprobs = tuple[TokenLogprob | None, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the `n` answers to a prompt; `index` counts from 0."""

    index: int
    text: str
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] | None = None
