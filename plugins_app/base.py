"""The whole plugin contract: what a plugin is given, what it may change, how it refuses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class PluginCategory(StrEnum):
    """When a plugin runs. A pre-processor sees prompts, an output processor sees results."""

    PRE_PROCESSOR = "pre_processor"
    OUTPUT_PROCESSOR = "output_processor"


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class PromptContext:
    """Input of a pre-processor. Exactly one of `text` and `messages` is set; it returns its own copy."""

    request_id: str
    model: str
    text: str | None
    messages: tuple[Message, ...] | None


@dataclass(frozen=True, slots=True)
class ResultContext:
    """Input of an output processor, once the whole text is there; it returns its own copy.

    A client that streams has seen the tokens already and gets the new text as `final_text`.
    """

    request_id: str
    model: str
    text: str


class PluginRefusal(Exception):
    """Raised by `execute` to refuse the request; the message is shown to the caller."""


class BasePlugin(ABC):
    """One plugin. It is made once, runs for many requests, possibly several at once."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def initialize(self) -> bool:
        """Called once before the first request. False keeps the plugin out."""
        return True

    @abstractmethod
    def execute(self, input_data: Any) -> Any:
        """Takes and returns the context of the plugin's category. Raises PluginRefusal to refuse."""

    def cleanup(self) -> None:  # noqa: B027  most plugins hold nothing
        """Called once after the last request."""

    @property
    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """At least `name`, `version` and `category`."""
