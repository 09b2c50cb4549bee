"""A sampled token becomes text and events; decides whether its sequence has ended."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from inference.engine.sampler import SampledToken
from inference.engine.sequence import Sequence
from inference.protocol import (
    Delta,
    EngineEvent,
    Finished,
    FinishReason,
    PromptLogprobs,
    TokenLogprob,
)

TokenText = Callable[[int], str]


class OutputProcessor:
    """Applies tokens to sequences. `token_text` names single tokens in log probabilities."""

    def __init__(self, *, eos_token_ids: Collection[int], token_text: TokenText) -> None:
        self._eos = frozenset(eos_token_ids)
        self._token_text = token_text

    def apply(self, sequence: Sequence, token: SampledToken, now: float) -> list[EngineEvent]:
        """Add a token to a sequence; what to send: new text, the end, both or nothing.

        Sets `finish_reason` where the sequence has ended. The end token itself is no text.
        """
        delta = self._advance(sequence, token, now)
        events: list[EngineEvent] = [] if delta is None else [delta]
        if sequence.finish_reason is not None:
            events.append(self._finished(sequence, sequence.finish_reason, now))
        return events

    def end_prompt(self, sequence: Sequence, embedding: bytes | None, now: float) -> Finished:
        """The end of a sequence that has none but its prompt, whose vector is `embedding` if wanted."""
        sequence.finish_reason = FinishReason.LENGTH if embedding is None else FinishReason.STOP
        finished = self._finished(sequence, sequence.finish_reason, now)
        return finished if embedding is None else replace(finished, embeddings=(embedding,))

    def _advance(self, sequence: Sequence, token: SampledToken, now: float) -> Delta | None:
        if sequence.first_token_at is None:
            sequence.first_token_at = now
        sequence.output_ids.append(token.token_id)
        params = sequence.params
        num_tokens = len(sequence.output_ids)
        grammar = sequence.grammar
        if grammar is not None:
            grammar.accept(token.token_id)
        # Under a grammar the end token comes only where the answer may end or must.
        if token.token_id in self._eos and (grammar is not None or not params.ignore_eos):
            sequence.finish_reason = FinishReason.STOP
            return self._delta(sequence, sequence.text.finish())
        text = sequence.text.push(token.token_id, check_stop=num_tokens >= params.min_tokens)
        if token.logprob is not None:
            sequence.logprobs.append(self._describe(token, token.logprob))
        if sequence.text.is_stopped:
            sequence.finish_reason = FinishReason.STOP
        elif grammar is not None and grammar.is_complete:
            sequence.finish_reason = FinishReason.STOP
            text += sequence.text.finish()
        elif num_tokens >= params.max_tokens:
            sequence.finish_reason = FinishReason.LENGTH
            text += sequence.text.finish()
        return self._delta(sequence, text)

    def _finished(self, sequence: Sequence, reason: FinishReason, now: float) -> Finished:
        has_logprobs = sequence.params.logprobs is not None
        return Finished(
            request_id=sequence.request_id,
            text=sequence.text.text,
            finish_reason=reason,
            usage=sequence.usage(),
            timings=sequence.timings(now),
            logprobs=tuple(sequence.logprobs) if has_logprobs else None,
            prompt_logprobs=self._prompt_logprobs(sequence),
        )

    def _prompt_logprobs(self, sequence: Sequence) -> PromptLogprobs | None:
        if sequence.params.prompt_logprobs is None:
            return None
        scores = sequence.prompt_scores
        return (None, *(self._describe(score, score.logprob or 0.0) for score in scores))

    def _delta(self, sequence: Sequence, text: str) -> Delta | None:
        unsent = sequence.logprobs[sequence.num_logprobs_sent :]
        is_last = sequence.finish_reason is not None
        if not text and not (is_last and unsent):
            return None
        sequence.num_logprobs_sent = len(sequence.logprobs)
        return Delta(
            request_id=sequence.request_id,
            text=text,
            num_tokens=len(sequence.output_ids),
            logprobs=tuple(unsent),
        )

    def _describe(self, token: SampledToken, logprob: float) -> TokenLogprob:
        return TokenLogprob(
            token=self._token_text(token.token_id),
            logprob=logprob,
            top=tuple((self._token_text(token_id), value) for token_id, value in token.top),
        )
