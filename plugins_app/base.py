"""The whole plugin contract: what a plugin is given, what it may change, how it refuses.

A plugin is one Python file (or a package) with three literals and one class:

    PLUGIN_METADATA   who it is: the seven keys of docs/plugins.md, read without running the file
    SETTINGS_SCHEMA   JSON Schema of its settings (optional)
    a BasePlugin      the code; the only subclass that the file defines

Standard library only: a plugin's own process imports this file and nothing else of the portal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: A plugin names in `api_version` the one that it was written for; 1 where it names none. The number
#: rises when a context loses a field or a hook changes its meaning, never for an addition.
API_VERSION = 1


class Hook(StrEnum):
    """The moments at which a plugin is called; each has a context of its own.

    In the order of a request: ADAPT, PROMPT, then CHUNK for each piece of the answer, RESULT, FINISHED.
    """

    ADAPT = "adapt"
    PROMPT = "prompt"
    CHUNK = "chunk"
    RESULT = "result"
    FINISHED = "finished"


class PluginCategory(StrEnum):
    """What a plugin is for. Its hooks follow, unless `hooks` in its metadata names others."""

    PRE_PROCESSOR = "pre_processor"
    STREAM_FILTER = "stream_filter"
    OUTPUT_PROCESSOR = "output_processor"
    MODEL_ADAPTER = "model_adapter"
    OBSERVER = "observer"

    @property
    def hooks(self) -> tuple[Hook, ...]:
        return _HOOKS[self]


_HOOKS: dict[PluginCategory, tuple[Hook, ...]] = {
    PluginCategory.PRE_PROCESSOR: (Hook.PROMPT,),
    PluginCategory.STREAM_FILTER: (Hook.CHUNK,),
    PluginCategory.OUTPUT_PROCESSOR: (Hook.RESULT,),
    PluginCategory.MODEL_ADAPTER: (Hook.ADAPT,),
    PluginCategory.OBSERVER: (Hook.FINISHED,),
}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat; `role` is system, user, assistant or tool."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class AdaptContext:
    """How a model is spoken to. Runs first, once for a request; returns its own copy.

    May change: `chat_template` (Jinja, in place of the model's own; None keeps that), `stop` (added
    strings that end the answer), `defaults` (values for sampling parameters; those that the caller
    gave are in `given` and win), and `text` or `messages` (a normaliser ahead of the tokenizer). A
    refusal ends the request before it costs anything.
    """

    request_id: str
    model: str
    architecture: str
    backend: str
    role: str
    text: str | None
    messages: tuple[Message, ...] | None
    chat_template: str | None = None
    stop: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    given: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptContext:
    """What the model will read. Runs before the engine, once for a request (once an input of many).

    Exactly one of `text` and `messages` is set; both may be changed, neither may become the other.
    `role` is the caller's role in the portal. A refusal ends the request with the plugin's reason.
    """

    request_id: str
    model: str
    text: str | None
    messages: tuple[Message, ...] | None
    role: str = ""


@dataclass(frozen=True, slots=True)
class ChunkContext:
    """A piece of the answer on its way to the caller, streamed or not. Runs for each piece, in order.

    May change: `text`, which may also be held back: return less, keep the rest in `state`, and give
    it out with a later piece, at the latest with the one that is `is_last` (its own text may be
    empty). `state` is this plugin's own for one answer, empty at its first piece; JSON values only.
    `index` tells the answers apart where a request asked for several. A refusal ends the request;
    what was given out before stays given out.
    """

    request_id: str
    model: str
    index: int
    text: str
    is_last: bool = False
    state: Mapping[str, Any] = field(default_factory=dict)
    role: str = ""


@dataclass(frozen=True, slots=True)
class ResultContext:
    """The whole answer, after all stream filters. Runs once for each answer; returns its own copy.

    May change: `text`. While such a plugin is active for a request, a stream holds the answer back
    until it has run, so that all callers read the same. A refusal withholds the answer.
    """

    request_id: str
    model: str
    text: str
    index: int = 0
    finish_reason: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class FinishedContext:
    """What became of a request: figures, no words. Runs after the caller has been answered.

    Nothing can be changed or refused; what is returned is ignored. Under load some may be left out,
    and are counted. Times are seconds; one that was not measured is None.
    """

    request_id: str
    model: str
    role: str
    finish_reason: str
    error_code: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    queue_time: float | None
    ttft: float | None
    duration: float
    plugins: tuple[str, ...] = ()


Context = AdaptContext | PromptContext | ChunkContext | ResultContext | FinishedContext

CONTEXT_OF: dict[Hook, type[Context]] = {
    Hook.ADAPT: AdaptContext,
    Hook.PROMPT: PromptContext,
    Hook.CHUNK: ChunkContext,
    Hook.RESULT: ResultContext,
    Hook.FINISHED: FinishedContext,
}


class PluginRefusal(Exception):
    """Raised by `execute` to refuse the request; the message is shown to the caller."""


class BasePlugin(ABC):
    """One plugin. It is made once and runs for many requests, possibly several at once."""

    def __init__(self, config: dict[str, Any]) -> None:
        """`config` holds the settings, checked against SETTINGS_SCHEMA, defaults filled in."""
        self.config = config

    def initialize(self) -> bool:
        """Called once before the first request. False keeps the plugin out, as an exception does."""
        return True

    @abstractmethod
    def execute(self, input_data: Any) -> Any:
        """Takes the context of one hook and returns the same type: itself or a changed copy.

        `dataclasses.replace` makes the copy. A plugin with several hooks tells them apart by type.
        Raises PluginRefusal to refuse; any other exception is a fault of the plugin, and its failure
        policy decides whether the request goes on without it.
        """

    def cleanup(self) -> None:  # noqa: B027  most plugins hold nothing
        """Called once after the last request, within a few seconds."""

    @property
    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """PLUGIN_METADATA of its file."""
