"""How far a grammar may go, the same for the process that tries it and the one that serves it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from inference.protocol import Grammar, GrammarKind

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

#: Characters of a schema, an expression or a grammar.
MAX_TEXT_CHARS = 65_536
#: Seconds of processor time that one compilation may take: a refusal comes within two on an idle machine.
MAX_COMPILE_SECONDS = 1.25
#: Bytes that one compilation may add to its process.
MAX_COMPILE_BYTES = 128 << 20
# The stack of the thread that tries a grammar: a quarter of what the engine's threads have, since what
# is a deep recursion there must not be too deep here.
TRIAL_STACK_BYTES = 1 << 20
COMPILE_STACK_BYTES = 16 << 20

# Between two tokens of JSON a small model would write spaces until its tokens run out.
_WHITESPACE = r"[\x20\x0A\x0D\x09]{1,32}"
_OBJECT = '{"type": "object"}'


def compile_grammar(tokenizer: LLTokenizer, grammar: Grammar) -> tuple[LLMatcher, str]:
    """A matcher at the beginning of `grammar`, and llguidance's complaint, "" for none.

    May take seconds, and for a hostile grammar forever, or overflow the stack:
    `inference.engine.grammar_trial` finds out.
    """
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(
        max_lexer_states=20_000,
        max_grammar_size=100_000,
        step_lexer_fuel=100_000,
        verbose_errors=False,
    )
    matcher = LLMatcher(tokenizer, _to_llguidance(grammar), log_level=0, limits=limits)
    if not matcher.is_error():
        matcher.compute_bitmask()  # the first mask builds what the later ones share
    return matcher, matcher.get_error()


def _to_llguidance(grammar: Grammar) -> str:
    from llguidance import LLMatcher

    if grammar.kind is GrammarKind.REGEX:
        return LLMatcher.grammar_from_regex(grammar.text)
    if grammar.kind is GrammarKind.LARK:
        return LLMatcher.grammar_from_lark(grammar.text)
    schema = _OBJECT if grammar.kind is GrammarKind.JSON_OBJECT else grammar.text
    return LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_pattern": _WHITESPACE})


def make_tokenizer(tokenizer_json: str, vocab_size: int, eos_token_ids: list[int]) -> LLTokenizer:
    """llguidance's view of a tokenizer: half a second and about 50 MB for 49,152 tokens.

    Raises ValueError for a tokenizer that it cannot read.
    """
    from llguidance import LLTokenizer

    return LLTokenizer(tokenizer_json, n_vocab=vocab_size, eos_token=eos_token_ids)


def check_text(grammar: Grammar) -> str | None:
    """What is wrong with a grammar at first sight, or None."""
    if len(grammar.text) > MAX_TEXT_CHARS:
        return f"has {len(grammar.text)} characters; at most {MAX_TEXT_CHARS} are accepted"
    if grammar.kind is GrammarKind.JSON_OBJECT:
        return None
    if not grammar.text.strip():
        return "is empty"
    if grammar.kind is GrammarKind.JSON_SCHEMA:
        try:
            schema = json.loads(grammar.text)
        except (ValueError, RecursionError):
            return "the schema is not JSON"
        if not isinstance(schema, dict):
            return "the schema must be a JSON object"
    return None
