"""What a request must fulfil before it may wait: checked at the engine's own border, again.

The web checks the same and answers sooner; a worker of another version or a plugin may not have.
"""

from __future__ import annotations

import math

from inference.engine.errors import RequestError
from inference.engine.grammar_limits import check_text
from inference.protocol import SamplingParams
from llamagpu.lib.error_codes import ErrorCode

# The eight of a caller, and as many that adapters of the model add.
MAX_STOP_STRINGS = 16
MAX_STOP_CHARS = 1024
MAX_LOGPROBS = 20
MAX_BIASES = 1024
MAX_BIAS = 100.0
MAX_CHOICES = 16
MAX_TIMEOUT = 86_400.0
_SEED_BITS = 64


def check_params(params: SamplingParams) -> None:
    """Raises RequestError INVALID_INPUT naming the parameter that is out of range."""
    _check("max_tokens", params.max_tokens, 0, math.inf)
    _check("temperature", params.temperature, 0.0, 2.0)
    _check("top_p", params.top_p, 0.0, 1.0, low_open=True)
    _check("top_k", params.top_k, 0, math.inf)
    _check("min_p", params.min_p, 0.0, 1.0)
    # Nearer to 0 the quotient of a logit would be no finite number.
    _check("repetition_penalty", params.repetition_penalty, 0.01, 10.0)
    _check("presence_penalty", params.presence_penalty, -2.0, 2.0)
    _check("frequency_penalty", params.frequency_penalty, -2.0, 2.0)
    _check("min_tokens", params.min_tokens, 0, params.max_tokens)
    if params.logprobs is not None:
        _check("logprobs", params.logprobs, 0, MAX_LOGPROBS)
    if params.prompt_logprobs is not None:
        _check("prompt_logprobs", params.prompt_logprobs, 0, MAX_LOGPROBS)
    if params.seed is not None:
        _check("seed", params.seed, -(2 ** (_SEED_BITS - 1)), 2**_SEED_BITS - 1)
    if len(params.stop) > MAX_STOP_STRINGS:
        raise _invalid(f"stop holds {len(params.stop)} strings, more than {MAX_STOP_STRINGS}")
    for string in params.stop:
        if not 1 <= len(string) <= MAX_STOP_CHARS:
            raise _invalid(f"a stop string must have 1 to {MAX_STOP_CHARS} characters")
    _check("n", params.n, 1, MAX_CHOICES)
    if len(params.logit_bias) > MAX_BIASES:
        raise _invalid(f"logit_bias names {len(params.logit_bias)} tokens, over {MAX_BIASES}")
    for _, value in params.logit_bias:
        _check("logit_bias", value, -MAX_BIAS, MAX_BIAS)


def check_tokens(params: SamplingParams, vocab_size: int) -> None:
    """Raises RequestError INVALID_INPUT for a token id that this model does not have."""
    named = [token_id for token_id, _ in params.logit_bias]
    for token_id in named:
        if not 0 <= token_id < vocab_size:
            raise _invalid(
                f"logit_bias names token {token_id}; this model has 0 to {vocab_size - 1}"
            )
    if len(set(named)) < len(named):
        raise _invalid("logit_bias names a token twice")


def check_timeout(timeout: float) -> None:
    """Raises RequestError INVALID_INPUT for a time limit (seconds) that is no time limit."""
    _check("timeout", timeout, 0.0, MAX_TIMEOUT, low_open=True)


def check_length(num_prompt: int, max_tokens: int, max_model_len: int) -> None:
    """Raises RequestError CONTEXT_LENGTH_EXCEEDED where prompt and answer do not fit.

    `max_tokens` is never cut down in silence: a caller who asked for 500 tokens must not wonder
    why the answer ends after 20.
    """
    if num_prompt > max_model_len or (num_prompt == max_model_len and max_tokens):
        raise RequestError(
            f"the prompt has {num_prompt} tokens; this model holds {max_model_len} with the answer",
            ErrorCode.CONTEXT_LENGTH_EXCEEDED,
        )
    if num_prompt + max_tokens > max_model_len:
        raise RequestError(
            f"the prompt's {num_prompt} tokens and max_tokens {max_tokens} exceed the "
            f"{max_model_len} that this model holds; lower max_tokens to "
            f"{max_model_len - num_prompt} or shorten the prompt",
            ErrorCode.CONTEXT_LENGTH_EXCEEDED,
        )


def check_grammar(params: SamplingParams) -> None:
    """Raises RequestError INVALID_INPUT for a grammar that is wrong at first sight."""
    if params.grammar is not None and (reason := check_text(params.grammar)) is not None:
        raise _invalid(f"response_format: {reason}")


def _check(name: str, value: float, low: float, high: float, *, low_open: bool = False) -> None:
    too_low = value <= low if low_open else value < low
    # The comparison is False for NaN, which must not pass.
    if too_low or not value <= high:
        bound = f"above {low:g}" if low_open else f"at least {low:g}"
        limit = "" if math.isinf(high) else f" and at most {high:g}"
        raise _invalid(f"{name} is {value}; it must be {bound}{limit}")


def _invalid(message: str) -> RequestError:
    return RequestError(message, ErrorCode.INVALID_INPUT)
