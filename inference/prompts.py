"""Counts a prompt's tokens in the web process, so that one beyond the context is never queued."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from inference.gguf_files import converted_folder
from inference.model_files import ModelFilesError
from inference.model_store import gguf_of
from inference.models import Model
from inference.presence import EngineReport
from inference.protocol import Prompt
from inference.tokenizer import PromptError, Tokenizer
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring.configuration import current

_MAX_TOKENIZERS = 16
_TEMPLATE_TOKENS, _MESSAGE_TOKENS = 256, 16


def model_directory(model: Model) -> Path:
    """The model's folder, or its GGUF file, on this machine."""
    root: Path = settings.LLAMA.model_path
    return root / model.path


def asked_length(model: Model) -> int | None:
    """The context length that the model's limit or the configuration asks for; None: the model's."""
    asked = [limit for limit in (model.max_model_len, current().max_model_len) if limit]
    return min(asked, default=None)


def context_length(model: Model, engines: Iterable[EngineReport] = ()) -> int:
    """Tokens that a request may fill, prompt and answer together.

    The model's own, the configured limit, or what the memory of its engines allowed. 0 for a model
    whose files are not here.
    """
    limits = [engine.max_model_len for engine in engines if engine.model == model.slug]
    limits += [model.context_length, model.max_model_len or 0, current().max_model_len]
    return min((limit for limit in limits if limit), default=0)


def most_new_tokens(model: Model) -> int:
    """The highest `max_tokens` of a request to `model`."""
    most = current().max_new_tokens
    return most if model.max_new_tokens is None else min(most, model.max_new_tokens)


def check_answer_length(model: Model, max_tokens: int) -> None:
    """Raises AppError INVALID_INPUT where `model` does not answer with so many tokens."""
    most = most_new_tokens(model)
    if max_tokens > most:
        message = f"max_tokens: Must be at most {most} for '{model.slug}'."
        raise AppError(ErrorCode.INVALID_INPUT, message)


def tokenizer_directory(model: Model) -> Path | None:
    """Where the model's tokenizer lies; None for a remote model and a GGUF that was never loaded.

    A GGUF's tokenizer comes into being when its first load converts it. A remote model's is with its
    upstream for good.
    """
    if model.is_remote:
        return None
    directory = model_directory(model)
    try:
        gguf = gguf_of(directory)
        if gguf is None:
            return directory
        folder = converted_folder(gguf, settings.LLAMA.cache_dir)
    except (OSError, ModelFilesError):
        return directory
    return folder if folder.is_dir() else None


def check_fits(model: Model, prompt: Prompt, max_tokens: int, limit: int) -> int | None:
    """The prompt's length in tokens; `limit` is the model's `context_length`.

    None where only the engine can tell: it makes the same check before it computes anything.

    Raises AppError CONTEXT_LENGTH_EXCEEDED where prompt and answer do not fit the context,
    INVALID_INPUT where the model cannot read such a prompt, MODEL_LOAD_FAILED where its tokenizer
    is broken.
    """
    num_tokens = count_tokens(model, prompt)
    if num_tokens is None:
        check_leaves_room(model, max_tokens, limit)
    else:
        check_length(model, num_tokens, max_tokens, limit)
    return num_tokens


def count_tokens(model: Model, prompt: Prompt) -> int | None:
    """The prompt's length in tokens; None where only the engine can tell.

    Raises AppError INVALID_INPUT and MODEL_LOAD_FAILED as `check_fits` does.
    """
    if model.is_remote:
        return None if prompt.token_ids is None else len(prompt.token_ids)
    tokenizer = tokenizer_of(model)
    if tokenizer is None:
        return None
    try:
        return len(tokenizer.encode_prompt(prompt))
    except PromptError as error:
        raise AppError(ErrorCode.INVALID_INPUT, str(error)) from error


def tokenizer_of(model: Model) -> Tokenizer | None:
    """The model's tokenizer; None where there is none before its first load.

    Raises AppError MODEL_LOAD_FAILED where it is broken.
    """
    directory = tokenizer_directory(model)
    if directory is None:
        return None
    try:
        stamp = (directory / "tokenizer.json").stat().st_mtime_ns
        return _tokenizer(directory, stamp)
    except (OSError, ValueError) as error:
        raise AppError(
            ErrorCode.MODEL_LOAD_FAILED, f"The tokenizer of '{model.slug}' cannot be read."
        ) from error


def check_length(model: Model, num_tokens: int, max_tokens: int, limit: int) -> None:
    """Raises AppError CONTEXT_LENGTH_EXCEEDED where prompt and answer do not fit the context."""
    if num_tokens + max_tokens > limit:
        raise AppError(
            ErrorCode.CONTEXT_LENGTH_EXCEEDED,
            f"The prompt has {num_tokens} tokens and max_tokens asks for {max_tokens} more: "
            f"together over the {limit} that '{model.slug}' can hold. Shorten the text or lower "
            "max_tokens.",
            details={
                "prompt_tokens": num_tokens,
                "max_tokens": max_tokens,
                "context_length": limit,
            },
        )


def check_leaves_room(model: Model, max_tokens: int, limit: int) -> None:
    """The same for a prompt that cannot be counted here: it has a token at least."""
    if max_tokens >= limit:
        raise AppError(
            ErrorCode.CONTEXT_LENGTH_EXCEEDED,
            f"max_tokens asks for {max_tokens}: '{model.slug}' can hold {limit}, prompt included.",
            details={"max_tokens": max_tokens, "context_length": limit},
        )


def open_length(model: Model, most: int, limit: int) -> int:
    """What the context leaves an answer whose length nobody has said; the prompt has `most` tokens.

    How long a prompt is for a remote model only its upstream knows: it may take what is left there.
    """
    return limit if model.is_remote else limit - most


def most_tokens(prompt: Prompt, room: int) -> int:
    """What a prompt that cannot be counted here has at most; `room` is what the context leaves it.

    A token stands for a byte or more; templates write a little around each message.
    """
    if prompt.token_ids is not None:
        return min(len(prompt.token_ids), room)
    texts = [message.content for message in prompt.messages or ()] + [prompt.text or ""]
    texts += [json.dumps(tool, ensure_ascii=False) for tool in prompt.tools]
    texts += [c.name + c.arguments for message in prompt.messages or () for c in message.tool_calls]
    num_bytes = sum(len(text.encode()) for text in texts)
    return max(0, min(num_bytes + _TEMPLATE_TOKENS + _MESSAGE_TOKENS * len(texts), room))


@lru_cache(maxsize=_MAX_TOKENIZERS)
def _tokenizer(directory: Path, stamp: int) -> Tokenizer:
    """`stamp` is the file's time of change: a model that was replaced is read again."""
    return Tokenizer.load(directory)
