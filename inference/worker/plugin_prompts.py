"""Stage 4/7 as a worker runs it: a job's words and parameters to plugins and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from inference.protocol import ChatMessage, GenerationJob, Loaded, Prompt, SamplingParams
from inference.worker.adapting import REMOTE, check_adapted, with_defaults
from plugins_app.base import AdaptContext, Hook, Message, PromptContext
from plugins_app.pipeline import Chain

Words = tuple[str | None, tuple[Message, ...] | None]


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What the engine shall be asked, and the plugins that had a part in it."""

    prompt: Prompt
    params: SamplingParams
    acted: tuple[str, ...] = ()


def read_request(chain: Chain, job: GenerationJob, info: Loaded | None) -> ReadRequest:
    """`info` is what is known of the model's engine. Raises PluginStopError."""
    if not (chain.has(Hook.ADAPT) or chain.has(Hook.PROMPT)):
        return ReadRequest(job.prompt, job.params)
    reader = _Reader(chain, job, info)
    if not job.prompt.inputs:
        return reader.read(job.prompt)
    read = [reader.read(prompt) for prompt in job.prompt.inputs]
    acted = dict.fromkeys(name for part in read for name in part.acted)
    prompt = replace(job.prompt, inputs=tuple(part.prompt for part in read))
    return ReadRequest(prompt, job.params, tuple(acted))


@dataclass(frozen=True, slots=True)
class _Reader:
    chain: Chain
    job: GenerationJob
    info: Loaded | None

    def read(self, prompt: Prompt) -> ReadRequest:
        params = self.job.params
        acted: list[str] = []
        if self.chain.has(Hook.ADAPT):
            prompt, params, acted = self._adapt(prompt, params)
        if self.chain.has(Hook.PROMPT):
            prompt, names = self._process(prompt)
            acted += names
        return ReadRequest(prompt, params, tuple(dict.fromkeys(acted)))

    def _adapt(
        self, prompt: Prompt, params: SamplingParams
    ) -> tuple[Prompt, SamplingParams, list[str]]:
        job, info = self.job, self.info
        before = AdaptContext(
            request_id=job.request_id,
            model=job.model,
            architecture=info.architecture if info else "",
            backend=info.backend if info else "",
            role=job.role,
            text=prompt.text,
            messages=_told(prompt.messages),
            given=params.given,
        )
        check: Callable[[AdaptContext], None] = lambda after: check_adapted(after, params)  # noqa: E731
        after, acted = self.chain.adapt(before, check)
        if not acted:
            return prompt, params, []
        prompt = _with_words(prompt, (after.text, after.messages))
        if after.backend != REMOTE:
            prompt = replace(prompt, chat_template=after.chat_template)
        return prompt, with_defaults(params, after), acted

    def _process(self, prompt: Prompt) -> tuple[Prompt, list[str]]:
        if prompt.text is None and prompt.messages is None:
            self.chain.refuse_unreadable()
            return prompt, []
        job = self.job
        before = PromptContext(
            request_id=job.request_id,
            model=job.model,
            text=prompt.text,
            messages=_told(prompt.messages),
            role=job.role,
        )
        after, acted = self.chain.prompt(before)
        return (_with_words(prompt, (after.text, after.messages)) if acted else prompt), acted


def _told(messages: Sequence[ChatMessage] | None) -> tuple[Message, ...] | None:
    if messages is None:
        return None
    return tuple(Message(message.role, message.content) for message in messages)


def _with_words(prompt: Prompt, words: Words) -> Prompt:
    text, messages = words
    if messages is None:
        return replace(prompt, text=text)
    return replace(prompt, messages=rewritten(prompt.messages or (), messages))


def rewritten(before: Sequence[ChatMessage], after: Sequence[Message]) -> tuple[ChatMessage, ...]:
    """The turns as plugins left them. One that stayed, or took another's place in the same role, keeps
    its calls of tools and its names."""
    old = [(turn.role, turn.content) for turn in before]
    new = [(turn.role, turn.content) for turn in after]
    turns = [ChatMessage(role, content) for role, content in new]
    for tag, start, end, at, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            turns[at:stop] = before[start:end]
        elif tag == "replace":
            waiting = list(range(at, stop))
            for turn in before[start:end]:
                place = next((i for i in waiting if turns[i].role == turn.role), None)
                if place is not None:
                    turns[place] = replace(turn, content=turns[place].content)
                    waiting = [i for i in waiting if i > place]
    return tuple(turns)
