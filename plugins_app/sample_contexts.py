"""A context for each hook, as a request would bring it, for trying a plugin out. No Django."""

from __future__ import annotations

from plugins_app.base import (
    AdaptContext,
    ChunkContext,
    Context,
    FinishedContext,
    Hook,
    PromptContext,
    ResultContext,
)

_ID, _MODEL = "sample", "sample-model"


def sample_context(hook: Hook, text: str, role: str = "user") -> Context:
    """`text` as the prompt, or as the answer in one piece."""
    words = len(text.split())
    samples: dict[Hook, Context] = {
        Hook.ADAPT: AdaptContext(
            _ID, _MODEL, architecture="", backend="cpu", role=role, text=text, messages=None
        ),
        Hook.PROMPT: PromptContext(_ID, _MODEL, text=text, messages=None, role=role),
        Hook.CHUNK: ChunkContext(_ID, _MODEL, index=0, text=text, is_last=True, role=role),
        Hook.RESULT: ResultContext(_ID, _MODEL, text=text, finish_reason="stop", role=role),
        Hook.FINISHED: FinishedContext(
            _ID, _MODEL, role=role, finish_reason="stop", error_code="", prompt_tokens=words,
            completion_tokens=words, cached_tokens=0, queue_time=0.0, ttft=0.1, duration=0.2,
        ),
    }  # fmt: skip
    return samples[hook]
