"""The words that web, worker and engine share: frozen dataclasses, stdlib only.

Three wires carry them, a file each: the Celery message (`GenerationJob` as JSON), the pipe between a
worker and an engine process (`EngineCommand` / `EngineEvent` as msgpack frames, see `inference.wire`)
and the Redis Stream of a job (`StreamEvent` as JSON). Times are seconds; clocks of two processes are
never compared except as Unix time in `GenerationJob`.
"""

from inference.conversation import ChatMessage, Prompt, ToolCall
from inference.protocol.engine import (
    Cancel,
    Delta,
    Drain,
    Drained,
    EngineCommand,
    EngineEvent,
    Exit,
    Failed,
    Finished,
    GetStats,
    Hello,
    Load,
    Loaded,
    LoadFailed,
    LoadProgress,
    Started,
    Stats,
    Submit,
)
from inference.protocol.events import DoneEvent, ErrorEvent, RestartEvent, StreamEvent, TokenEvent
from inference.protocol.jobs import GenerationJob
from inference.protocol.words import (
    PROTOCOL_VERSION,
    Choice,
    FinishReason,
    PromptLogprobs,
    Timings,
    TokenLogprob,
    Usage,
)
from inference.sampling_params import Grammar, GrammarKind, SamplingParams

__all__ = [
    "PROTOCOL_VERSION",
    "Cancel",
    "ChatMessage",
    "Choice",
    "Delta",
    "DoneEvent",
    "Drain",
    "Drained",
    "EngineCommand",
    "EngineEvent",
    "ErrorEvent",
    "Exit",
    "Failed",
    "FinishReason",
    "Finished",
    "GenerationJob",
    "GetStats",
    "Grammar",
    "GrammarKind",
    "Hello",
    "Load",
    "LoadFailed",
    "LoadProgress",
    "Loaded",
    "Prompt",
    "PromptLogprobs",
    "RestartEvent",
    "SamplingParams",
    "Started",
    "Stats",
    "StreamEvent",
    "Submit",
    "Timings",
    "TokenEvent",
    "TokenLogprob",
    "ToolCall",
    "Usage",
]
