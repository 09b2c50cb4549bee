"""The measured work: how many callers, how long the prompts and the answers are."""

from __future__ import annotations

from dataclasses import dataclass

PROMPT_TOKENS = 105
NEW_TOKENS = 64
PREFILL_TOKENS = 512
CONCURRENCY = (1, 8, 32)
# One caller's answer takes well under a second: several in a row make one run long enough to time.
_FEWEST_REQUESTS = 4


@dataclass(frozen=True, slots=True)
class Workload:
    """`num_requests` requests, `concurrency` of them under way at any time."""

    name: str
    concurrency: int
    num_requests: int
    prompt_tokens: int
    new_tokens: int


def concurrent(
    concurrency: int, prompt_tokens: int = PROMPT_TOKENS, new_tokens: int = NEW_TOKENS
) -> Workload:
    """So many callers at once, each with one request; a single caller has several in a row."""
    num_requests = concurrency if concurrency > 1 else _FEWEST_REQUESTS
    return Workload(f"C={concurrency}", concurrency, num_requests, prompt_tokens, new_tokens)


def prefill(num_tokens: int = PREFILL_TOKENS) -> Workload:
    """Long prompts one after another, each up to its first new token."""
    return Workload(f"prefill {num_tokens}", 1, _FEWEST_REQUESTS, num_tokens, 1)
