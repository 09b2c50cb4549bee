"""A `Submit` command becomes a sequence: tokenized and checked, before the loop sees it.

Runs on the reader's thread, so that a long prompt's tokenization never holds up the others' tokens.
"""

from __future__ import annotations

import time

from inference.engine.admission import (
    check_grammar,
    check_length,
    check_params,
    check_timeout,
    check_tokens,
)
from inference.engine.choices import split_choices
from inference.engine.detokenizer import TextAssembler
from inference.engine.errors import RequestError
from inference.engine.sequence import Sequence
from inference.protocol import Submit
from inference.tokenizer import PromptError, Tokenizer
from llamagpu.lib.error_codes import ErrorCode


def build_sequences(command: Submit, tokenizer: Tokenizer, max_model_len: int) -> list[Sequence]:
    """The sequences of a request, one per answer. Raises RequestError where it cannot be served."""
    received_at = time.monotonic()
    check_params(command.params)
    check_tokens(command.params, tokenizer.vocab_size)
    check_grammar(command.params)
    check_timeout(command.timeout)
    try:
        prompt_ids = tokenizer.encode_prompt(command.prompt)
    except PromptError as error:
        raise RequestError(error.message, ErrorCode.INVALID_INPUT) from error
    check_length(len(prompt_ids), command.params.max_tokens, max_model_len)
    return [
        Sequence(
            request_id=answer.request_id,
            prompt_ids=prompt_ids,
            params=answer.params,
            text=TextAssembler(tokenizer.decode, answer.params.stop),
            now=received_at,
            timeout=answer.timeout,
            priority=answer.priority,
            tenant=answer.tenant,
        )
        for answer in split_choices(command)
    ]
