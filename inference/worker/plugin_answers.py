"""Stage 6/7 as a worker runs it: an engine's answers through stream filters and output processors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from inference.protocol import (
    Choice,
    Delta,
    Finished,
    GenerationJob,
    PromptLogprobs,
    TokenEvent,
    TokenLogprob,
)
from plugins_app.answer_filter import AnswerFilter
from plugins_app.base import Hook, ResultContext
from plugins_app.pipeline import Chain


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What the callers read. `tokens` is what is to be streamed yet; all pieces together are the text."""

    text: str
    choices: tuple[Choice, ...] = ()
    logprobs: tuple[TokenLogprob, ...] | None = None
    prompt_logprobs: PromptLogprobs | None = None
    tokens: tuple[TokenEvent, ...] = ()


class Answers:
    """All answers to one attempt of a job. `acted` are the plugins that have changed one of them.

    `is_plain` says that none looks at them.
    """

    def __init__(self, chain: Chain, job: GenerationJob) -> None:
        self._chain = chain
        self._job = job
        self.is_plain = not (chain.has(Hook.CHUNK) or chain.has(Hook.RESULT))
        self._is_held = chain.has(Hook.RESULT)
        self._passages: dict[int, _Passage] = {}
        self._acted_at_end: list[str] = []

    @property
    def acted(self) -> tuple[str, ...]:
        filters = [name for part in self._passages.values() for name in part.filter.acted]
        return tuple(dict.fromkeys([*filters, *self._acted_at_end]))

    def pass_on(self, delta: Delta) -> TokenEvent:
        """What may be told now; without text where that is held back. Raises PluginStopError.

        Log probabilities spell the text that the model wrote: they wait until it is known to stay.
        """
        position = delta.num_tokens - 1
        if self.is_plain:
            return TokenEvent(delta.text, position, delta.logprobs, delta.index)
        passage = self._passage(delta.index)
        passage.position = position
        text = passage.push(delta.text)
        return TokenEvent("" if self._is_held else text, position, (), delta.index)

    def end(self, finished: Finished) -> ReadAnswer:
        """Raises PluginStopError."""
        if self.is_plain or finished.embeddings:
            return ReadAnswer(
                finished.text, finished.choices, finished.logprobs, finished.prompt_logprobs
            )
        whole = Choice(0, finished.text, finished.finish_reason, finished.logprobs)
        told = [self._end(choice) for choice in finished.choices or (whole,)]
        choices = tuple(choice for choice, _ in told)
        return ReadAnswer(
            choices[0].text,
            choices if finished.choices else (),
            choices[0].logprobs,
            finished.prompt_logprobs,
            tuple(token for _, token in told if token.text or token.logprobs),
        )

    def _end(self, choice: Choice) -> tuple[Choice, TokenEvent]:
        """One answer as it is read, and the last piece of its stream."""
        passage = self._passage(choice.index)
        piece = passage.finish(choice.text)
        text = "".join(passage.shown)
        if self._is_held:
            piece = text = self._process(text, choice)
        logprobs = choice.logprobs if text == choice.text else None
        token = TokenEvent(piece, passage.position, logprobs or (), choice.index)
        return replace(choice, text=text, logprobs=logprobs), token

    def _process(self, text: str, choice: Choice) -> str:
        context = ResultContext(
            request_id=self._job.request_id,
            model=self._job.model,
            text=text,
            index=choice.index,
            finish_reason=str(choice.finish_reason),
            role=self._job.role,
        )
        result, acted = self._chain.result(context)
        self._acted_at_end += acted
        return result.text

    def _passage(self, index: int) -> _Passage:
        passage = self._passages.get(index)
        if passage is None:
            job = self._job
            links = self._chain.links(Hook.CHUNK)
            passage = _Passage(
                AnswerFilter(
                    links, request_id=job.request_id, model=job.model, role=job.role, index=index
                )
            )
            self._passages[index] = passage
        return passage


@dataclass(slots=True)
class _Passage:
    """One answer on its way: `came` from the engine, `shown` by the filters."""

    filter: AnswerFilter
    came: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    position: int = 0

    def push(self, text: str) -> str:
        self.came.append(text)
        return self._show(self.filter.push(text))

    def finish(self, whole: str) -> str:
        """`whole` is the engine's text, of which all has come but perhaps an end."""
        came = "".join(self.came)
        rest = whole[len(came) :] if whole.startswith(came) else ""
        return self._show(self.filter.push(rest, is_last=True))

    def _show(self, text: str) -> str:
        self.shown.append(text)
        return text
