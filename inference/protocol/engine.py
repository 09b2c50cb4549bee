"""The wire between a worker and an engine process, msgpack frames on a pipe: commands and events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from inference.conversation import Prompt
from inference.protocol.words import (
    PROTOCOL_VERSION,
    Choice,
    FinishReason,
    PromptLogprobs,
    Timings,
    TokenLogprob,
    Usage,
)
from inference.sampling_params import SamplingParams
from llamagpu.lib.error_codes import ErrorCode

# ---------------------------------------------------------------- worker -> engine


@dataclass(frozen=True, slots=True)
class Load:
    """Load the one model of this engine process; answered by `Loaded` or `LoadFailed`.

    `model_path` is a model folder or a GGUF file. `max_memory_bytes` bounds the process's host
    memory; what can be made again (a converted GGUF, compiled kernels) is kept under `cache_dir`. A
    step that takes longer than `step_timeout` seconds ends the process; up to `max_drafts` tokens are
    guessed at a time where that pays. `upgrade` lets the process look for a faster way to serve the
    model while it serves.
    """

    model_path: str
    backend: str = "auto"
    dtype: str = "auto"
    num_slots: int = 32
    max_model_len: int = 0
    prefill_budget: int = 512
    max_waiting: int = 256
    num_threads: int = 0
    optimization_level: int = -1
    max_memory_bytes: int = 0
    cache_dir: str = ""
    tensor_parallel: int = 1
    devices: tuple[int, ...] = ()
    step_timeout: float = 120.0
    max_drafts: int = 7
    upgrade: bool = False


@dataclass(frozen=True, slots=True)
class Submit:
    """Queue one request; answered by `Delta`* and exactly one `Finished` or `Failed`."""

    request_id: str
    prompt: Prompt
    params: SamplingParams
    timeout: float
    tenant: str = ""
    priority: int = 0
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a request within one step; it still gets its one terminal event (`Failed` CANCELLED)."""

    request_id: str


@dataclass(frozen=True, slots=True)
class GetStats:
    """Answered by `Stats`."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Take no new request, finish what is there (at most `timeout` seconds), then send `Drained`."""

    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Exit:
    """End the process now. End of file on the pipe means the same."""


EngineCommand = Load | Submit | Cancel | GetStats | Drain | Exit


# ---------------------------------------------------------------- engine -> worker


@dataclass(frozen=True, slots=True)
class Hello:
    """First frame of an engine process."""

    pid: int
    protocol_version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """`fraction` is 0..1 of the stage named by `stage`."""

    stage: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model is ready. `rejected_backends` maps each backend passed over to the reason.

    `reserved_bytes` is the host memory that the process may come to hold, cache included.
    """

    architecture: str
    backend: str
    device: str
    dtype: str
    max_model_len: int
    num_slots: int
    vocab_size: int
    num_parameters: int
    weight_bytes: int
    load_time: float
    capabilities: dict[str, Any] = field(default_factory=dict)
    rejected_backends: dict[str, str] = field(default_factory=dict)
    reserved_bytes: int = 0


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The model cannot be served by this process, which exits after this frame."""

    code: ErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class Started:
    """The request left the waiting queue; `prompt_tokens` counts the rendered prompt."""

    request_id: str
    prompt_tokens: int
    queue_time: float


@dataclass(frozen=True, slots=True)
class Delta:
    """Newly decoded text. `num_tokens` counts the tokens so far, this delta's included.

    A token whose bytes end inside a character, or that may begin a stop string, is held back, so a
    delta may stand for several tokens. `index` is the answer that it belongs to, of `n`.
    """

    request_id: str
    text: str
    num_tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()
    index: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """Terminal event of a request that ended well. `text` is the whole generated text.

    Where `n` answers were asked for, `choices` holds all of them in order, the other fields describe
    the first, and `usage` counts the prompt once and the tokens of all answers. `embeddings`
    holds a vector for each of a prompt's inputs, as float32 in little-endian bytes.
    """

    request_id: str
    text: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    logprobs: tuple[TokenLogprob, ...] | None = None
    choices: tuple[Choice, ...] = ()
    prompt_logprobs: PromptLogprobs | None = None
    embeddings: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """Terminal event of a request that did not: cancelled, refused, out of time or broken.

    `usage` counts what was computed for it: nothing where it never left the waiting queue, else the
    whole prompt and the tokens so far.
    """

    request_id: str
    code: ErrorCode
    message: str
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of the engine: counts since start unless the name says otherwise.

    `max_running` and `prefill_budget` are the limits of now: short memory lowers them. A prefill step
    computes parts of prompts (and decodes beside them); all others only decode. `cache_hits_total`
    counts requests whose prompt's beginning was found in the cache, `cached_tokens_total` its tokens.
    """

    num_running: int
    num_waiting: int
    num_slots: int
    kv_cache_usage: float
    prompt_tokens_total: int
    generation_tokens_total: int
    requests_total: int
    steps_total: int
    step_time_total: float
    resident_bytes: int
    device_memory: dict[str, int] = field(default_factory=dict)
    max_running: int = 0
    prefill_budget: int = 0
    prefill_steps_total: int = 0
    prefill_time_total: float = 0.0
    decode_time_total: float = 0.0
    cached_tokens_total: int = 0
    cache_hits_total: int = 0
    preemptions_total: int = 0
    oom_retries_total: int = 0
    drafted_tokens_total: int = 0
    accepted_drafts_total: int = 0
    optimization_level: int = 0


@dataclass(frozen=True, slots=True)
class Drained:
    """Nothing runs or waits any more; `num_aborted` requests were cut off by the timeout."""

    num_aborted: int = 0


EngineEvent = (
    Hello | LoadProgress | Loaded | LoadFailed | Started | Delta | Finished | Failed | Stats | Drained
)  # fmt: skip
