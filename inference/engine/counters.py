"""What an engine counts since its start. The loop's thread writes, others read single numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Requests are counted when they arrive, prompt tokens when their computation begins."""

    num_requests: int = 0
    num_prompt_tokens: int = 0
    num_generated_tokens: int = 0
    num_steps: int = 0
    step_seconds: float = 0.0
