"""A `Submit` command becomes a sequence: tokenized and checked, before the loop sees it.

Runs on the reader's thread, so that a long prompt's tokenization never holds up the others' tokens.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from inference.engine.admission import (
    check_grammar,
    check_length,
    check_params,
    check_timeout,
    check_tokens,
)
from inference.engine.choices import split_choices
from inference.engine.detokenizer import TextAssembler
from inference.engine.embedding import Embedder
from inference.engine.errors import RequestError
from inference.engine.input_groups import split_inputs
from inference.engine.sequence import Sequence
from inference.protocol import SamplingParams, Submit
from inference.tokenizer import PromptError, Tokenizer
from llamagpu.lib.error_codes import ErrorCode


@dataclass(frozen=True, slots=True)
class Intake:
    """Reads commands for one loaded model. `scores_prompts`: whether it can score their tokens."""

    tokenizer: Tokenizer
    max_model_len: int
    embedder: Embedder
    scores_prompts: bool = True

    def read(self, command: Submit) -> list[Sequence]:
        """The sequences of a request, one per answer or input. Raises RequestError."""
        params = command.params
        check_params(params)
        check_tokens(params, self.tokenizer.vocab_size)
        check_grammar(params)
        check_timeout(command.timeout)
        if params.prompt_logprobs is not None and not self.scores_prompts:
            message = "logprobs: this model is served one sequence at a time and scores no prompts"
            raise RequestError(message, ErrorCode.INVALID_INPUT)
        received_at = time.monotonic()
        if command.prompt.inputs:
            return self._read_inputs(command, received_at)
        prompt_ids = self._encode(command)
        return [self._sequence(part, prompt_ids, received_at) for part in split_choices(command)]

    def _read_inputs(self, command: Submit, received_at: float) -> list[Sequence]:
        params = SamplingParams(max_tokens=0, temperature=0.0)
        sequences = []
        for part in split_inputs(replace(command, params=params)):
            sequence = self._sequence(part, self._encode(part), received_at)
            sequence.pool = self.embedder.new_pool()
            sequences.append(sequence)
        return sequences

    def _encode(self, command: Submit) -> list[int]:
        try:
            prompt_ids = self.tokenizer.encode_prompt(command.prompt)
        except PromptError as error:
            raise RequestError(error.message, ErrorCode.INVALID_INPUT) from error
        check_length(len(prompt_ids), command.params.max_tokens, self.max_model_len)
        return prompt_ids

    def _sequence(self, command: Submit, prompt_ids: list[int], received_at: float) -> Sequence:
        return Sequence(
            request_id=command.request_id,
            prompt_ids=prompt_ids,
            params=command.params,
            text=TextAssembler(self.tokenizer.decode, command.params.stop),
            now=received_at,
            timeout=command.timeout,
            priority=command.priority,
            tenant=command.tenant,
        )
