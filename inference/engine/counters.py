"""What an engine counts since its start. The loop's thread writes, others read single numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Requests are counted when they arrive, prompt tokens when their computation begins.

    A prefill step computes at least one prompt's tokens, a decode step none. Seconds of a step
    are those of the device's work and the sampler's, `step_seconds` the whole step's.
    """

    num_requests: int = 0
    num_prompt_tokens: int = 0
    num_generated_tokens: int = 0
    num_cached_tokens: int = 0
    num_cache_hits: int = 0
    num_steps: int = 0
    num_prefill_steps: int = 0
    step_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    num_oom_retries: int = 0
    num_drafted: int = 0
    num_drafts_accepted: int = 0
