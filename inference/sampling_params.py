"""How one request's tokens are chosen: a part of the words in `inference.protocol`, stdlib only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class GrammarKind(StrEnum):
    """What the text of a `Grammar` is written in. JSON_OBJECT needs no text."""

    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    LARK = "lark"


@dataclass(frozen=True, slots=True)
class Grammar:
    """The form that an answer must have: a JSON schema, a regular expression or a Lark grammar."""

    kind: GrammarKind
    text: str = ""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are chosen for one request. Values are checked at the web's and the engine's border.

    `temperature` 0 is greedy; `top_k` 0, `top_p` 1.0 and `min_p` 0.0 switch a filter off;
    `logprobs` None reports none, n reports the chosen token and the n best alternatives;
    `prompt_logprobs` the same of the prompt's tokens; `max_tokens` 0 computes the prompt alone;
    `logit_bias` holds (token id, what is added to its logit); `grammar` allows only answers of its
    form; `n` is the number of answers to one prompt, the seed of answer i being `seed` + i. `given`
    names those of them that the caller chose; it changes nothing that is computed.
    """

    max_tokens: int = 100
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    logit_bias: tuple[tuple[int, float], ...] = ()
    grammar: Grammar | None = None
    n: int = 1
    prompt_logprobs: int | None = None
    given: tuple[str, ...] = field(default=(), compare=False)
