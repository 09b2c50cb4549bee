"""Stages 4/7 and 6/7 as a worker runs them: a job's words to plugins and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from inference.protocol import ChatMessage, Choice, Finished, GenerationJob, Prompt
from plugins_app.base import Message, PromptContext, ResultContext
from plugins_app.pipeline import Pipeline


def read_prompt(pipeline: Pipeline, job: GenerationJob) -> tuple[Prompt, list[str]]:
    """The prompt as the engine shall read it, and the plugins that acted. Raises PluginRefusal."""
    if not job.prompt.inputs:
        return _read_one(pipeline, job, job.prompt)
    read = [_read_one(pipeline, job, prompt) for prompt in job.prompt.inputs]
    acted = dict.fromkeys(name for _, names in read for name in names)
    return replace(job.prompt, inputs=tuple(prompt for prompt, _ in read)), list(acted)


def _read_one(pipeline: Pipeline, job: GenerationJob, prompt: Prompt) -> tuple[Prompt, list[str]]:
    messages = prompt.messages
    context, acted = pipeline.before(
        PromptContext(
            request_id=job.request_id,
            model=job.model,
            text=prompt.text,
            messages=None
            if messages is None
            else tuple(Message(message.role, message.content) for message in messages),
        )
    )
    if not acted:
        return prompt, []
    changed = _rewritten(messages or (), context.messages)
    return replace(prompt, text=context.text, messages=changed), acted


def read_answer(
    pipeline: Pipeline, job: GenerationJob, event: Finished
) -> tuple[str, tuple[Choice, ...], list[str]]:
    """The text, all answers where there are several, and the plugins that acted.

    Raises PluginRefusal.
    """
    if event.embeddings:
        return "", (), []

    def seen(text: str) -> tuple[str, list[str]]:
        context, acted = pipeline.after(ResultContext(job.request_id, job.model, text))
        return context.text, acted

    if not event.choices:
        text, acted = seen(event.text)
        return text, (), acted
    results = [seen(choice.text) for choice in event.choices]
    choices = tuple(
        replace(choice, text=text) for choice, (text, _) in zip(event.choices, results, strict=True)
    )
    every = dict.fromkeys(name for _, acted in results for name in acted)
    return choices[0].text, choices, list(every)


def _rewritten(
    before: Sequence[ChatMessage], after: Sequence[Message] | None
) -> tuple[ChatMessage, ...] | None:
    """The turns as plugins left them. A turn of the same place and role keeps its calls of tools."""
    if after is None:
        return None
    turns = []
    for index, message in enumerate(after):
        old = before[index] if index < len(before) else None
        if old is not None and old.role == message.role:
            turns.append(replace(old, content=message.content))
        else:
            turns.append(ChatMessage(message.role, message.content))
    return tuple(turns)
