"""A model's tokenizer: prompts to token ids and back, without torch or transformers.

The web process counts prompt tokens with it before anything is queued; the engine encodes and
decodes with the same code, so both agree on every count.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import tokenizers

from inference.chat_template import ChatTemplate, ChatTemplateError, special_tokens_of
from inference.model_files import ModelFilesError, read_json_object
from inference.protocol import ChatMessage, Prompt
from inference.special_tokens import Span, SpecialTokens

# Compiled templates that are kept of those that come with prompts.
_MAX_TEMPLATES = 8


class TokenizerError(ValueError):
    """The model's tokenizer files cannot be used. The message names file and reason."""


class PromptError(ValueError):
    """This prompt cannot be read by this model; the message is fit for the caller."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Tokenizer:
    """Encodes and decodes for one model. Nothing changes after `load`, so threads may share one."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        template: ChatTemplate | None,
        vocab_size: int,
        special_tokens: dict[str, str] | None = None,
    ) -> None:
        """`special_tokens` are for templates that come with a prompt."""
        self._backend = backend
        self._specials = SpecialTokens(backend)
        self._template = template
        self._vocab_size = vocab_size
        self._compiled = lru_cache(_MAX_TEMPLATES)(
            lambda source: ChatTemplate(source, special_tokens)
        )

    @classmethod
    def load(cls, model_dir: Path) -> Tokenizer:
        """The tokenizer of the model in `model_dir`. Raises TokenizerError."""
        file = model_dir / "tokenizer.json"
        if not file.is_file():
            raise TokenizerError(f"{file}: missing; the model has no tokenizer")
        try:
            backend = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(f"{file}: not a usable tokenizer: {error}") from error
        # A file may carry the truncation of its training run, which would cut prompts in silence.
        backend.no_truncation()
        backend.no_padding()
        try:
            template = ChatTemplate.load(model_dir)
            special_tokens = special_tokens_of(model_dir)
        except ChatTemplateError as error:
            raise TokenizerError(f"{model_dir}: {error}") from error
        return cls(backend, template, _embedding_rows(model_dir, backend), special_tokens)

    @property
    def vocab_size(self) -> int:
        """Number of token ids that the model's embedding has; valid ids are below it."""
        return self._vocab_size

    @property
    def has_chat_template(self) -> bool:
        return self._template is not None

    @property
    def knows_tools(self) -> bool:
        """Whether the chat template shows the model functions that it may call."""
        return self._template is not None and self._template.knows_tools

    def to_json(self) -> str:
        """The whole tokenizer as tokenizer.json would hold it."""
        text: str = self._backend.to_str()
        return text

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """The token ids that the model reads for `prompt`. Raises PromptError.

        A text is one user turn where the model has a chat template and it is not raw, else it is read
        as it is, with the special tokens that the tokenizer's post-processor adds. What looks like a
        special token in a text is text; token ids alone may name them.
        """
        forms = (prompt.text, prompt.messages, prompt.token_ids)
        if sum(form is not None for form in forms) != 1:
            raise PromptError("a prompt is exactly one of text, messages and token_ids")
        if prompt.token_ids is not None:
            ids = list(prompt.token_ids)
        elif prompt.messages is not None:
            ids = self._encode_messages(self._template_for(prompt), prompt.messages, prompt.tools)
        elif prompt.is_raw or (template := self._template_for(prompt)) is None:
            text = prompt.text or ""
            ids = self._encode(text, self._specials.spans(text), add_special_tokens=True)
        else:
            turn = ChatMessage(role="user", content=prompt.text or "")
            ids = self._encode_messages(template, (turn,))
        if not ids:
            raise PromptError("the prompt is empty")
        self._check_ids(ids)
        return ids

    def encode_plain(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The token ids of `text` as it is, without the chat template. Raises PromptError."""
        return self._encode(text, add_special_tokens=add_special_tokens)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` without special tokens; bytes of no whole character become U+FFFD."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=True)
        return text

    def token_text(self, token_id: int) -> str:
        """The text of one token alone, special tokens included, for reports of logprobs."""
        text: str = self._backend.decode([token_id], skip_special_tokens=False)
        return text

    def _template_for(self, prompt: Prompt) -> ChatTemplate | None:
        """The prompt's own template, where it has one. Raises PromptError for a broken one."""
        if prompt.chat_template is None:
            return self._template
        try:
            return self._compiled(prompt.chat_template)
        except ChatTemplateError as error:
            raise PromptError(str(error)) from error

    def _encode_messages(
        self,
        template: ChatTemplate | None,
        messages: Sequence[ChatMessage],
        tools: Sequence[dict[str, Any]] = (),
    ) -> list[int]:
        if template is None:
            raise PromptError("this model has no chat template: send text instead of messages")
        try:
            marks = self._specials.new_marks()
            rendered = template.render(messages, tools=tools, protect=marks.mark)
        except ChatTemplateError as error:
            raise PromptError(str(error)) from error
        # The template writes the special tokens itself.
        text, own = marks.restore(rendered)
        return self._encode(text, own, add_special_tokens=False)

    def _encode(
        self, text: str, own: Sequence[Span] = (), *, add_special_tokens: bool
    ) -> list[int]:
        """The ids of `text`, of which the spans `own` are a caller's words."""
        try:
            ids = self._specials.encode(text, own, add_special_tokens=add_special_tokens)
        except (TypeError, UnicodeEncodeError) as error:
            # A lone surrogate is a Python string that no UTF-8 text can hold.
            raise PromptError("the prompt holds characters that are not valid Unicode") from error
        return ids

    def _check_ids(self, ids: list[int]) -> None:
        for token_id in ids:
            if not 0 <= token_id < self._vocab_size:
                raise PromptError(
                    f"token id {token_id} is outside this model's 0 to {self._vocab_size - 1}"
                )


def _embedding_rows(model_dir: Path, backend: tokenizers.Tokenizer) -> int:
    """config.json's vocab_size, since an id beyond the embedding breaks a whole batch.

    A folder without config.json (a tokenizer alone) falls back to the tokenizer's own count.
    """
    own_size: int = backend.get_vocab_size(with_added_tokens=True)
    config_file = model_dir / "config.json"
    if not config_file.exists():
        return own_size
    try:
        config = read_json_object(config_file)
    except ModelFilesError as error:
        raise TokenizerError(str(error)) from error
    text_config = config.get("text_config", config)
    size = text_config.get("vocab_size") if isinstance(text_config, dict) else None
    if type(size) is not int or size < 1:
        return own_size
    # Added tokens may lie beyond the embedding (their ids are refused); a vocabulary may not. One
    # that fills less than half of the rows is another model's: padding takes a few hundred.
    base_size: int = backend.get_vocab_size(with_added_tokens=False)
    if base_size > size or own_size * 2 < size:
        raise TokenizerError(
            f"{model_dir / 'tokenizer.json'}: {own_size} tokens do not belong to the {size} rows of "
            "the embedding in config.json: another model's tokenizer"
        )
    return size
