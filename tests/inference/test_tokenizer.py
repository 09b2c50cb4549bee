"""Prompts to ids as transformers has them; refusals that a caller can read."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import processors
from transformers import AutoTokenizer

from inference.protocol import ChatMessage, Prompt
from inference.tokenizer import PromptError, Tokenizer, TokenizerError
from tests.environment import MODEL_ROOT

BUILT_IN = MODEL_ROOT / "smollm2-135m-instruct"
TEXTS = [
    "What is the capital of France?",
    "In 2024, 1,234.5 €",
    "日本語 👩‍👩‍👧‍👦",
    " \n\t x ",
    "<im_end> <|im_en d|>",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(BUILT_IN)


@pytest.fixture(scope="module")
def reference() -> Any:
    return AutoTokenizer.from_pretrained(BUILT_IN)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The built-in tokenizer alone: no template, no config."""
    shutil.copy(BUILT_IN / "tokenizer.json", tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_one_user_turn(text: str, tokenizer: Tokenizer, reference: Any) -> None:
    chat = [{"role": "user", "content": text}]
    expected = reference.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    assert tokenizer.encode_prompt(Prompt(text=text)) == expected
    messages = Prompt(messages=(ChatMessage("user", text),))
    assert tokenizer.encode_prompt(messages) == expected


def test_every_digit_is_a_token(tokenizer: Tokenizer) -> None:
    """The GGUF names this rule ("smollm"); the merges were learned with it."""
    ids = tokenizer.encode_prompt(Prompt(text="1984"))
    assert [digit for digit in map(tokenizer.token_text, ids) if digit.isdigit()] == list("1984")


@pytest.mark.parametrize("text", TEXTS)
def test_a_model_without_a_template_reads_the_text_as_it_is(text: str, bare: Path) -> None:
    tokenizer = Tokenizer.load(bare)
    assert not tokenizer.has_chat_template
    ids = tokenizer.encode_prompt(Prompt(text=text))
    assert tokenizer.decode(ids) == text
    with pytest.raises(PromptError, match="no chat template"):
        tokenizer.encode_prompt(Prompt(messages=(ChatMessage("user", text),)))


def test_raw_text_gets_the_special_tokens_of_the_post_processor(bare: Path) -> None:
    raw: Any = RawTokenizer.from_file(str(bare / "tokenizer.json"))
    raw.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    raw.enable_truncation(2)
    raw.save(str(bare / "tokenizer.json"))
    ids = Tokenizer.load(bare).encode_prompt(Prompt(text="one two three four"))
    assert ids[0] == 1
    assert len(ids) == 5


def test_token_ids_are_taken_as_they_are(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_prompt(Prompt(token_ids=(5, 0, 49151))) == [5, 0, 49151]


@pytest.mark.parametrize(
    ("prompt", "match"),
    [
        (Prompt(), "exactly one"),
        (Prompt(text="a", token_ids=(1,)), "exactly one"),
        (Prompt(token_ids=()), "empty"),
        (Prompt(token_ids=(49152,)), "token id 49152 is outside"),
        (Prompt(token_ids=(1, -1)), "token id -1 is outside"),
        (Prompt(messages=()), "at least one message"),
        (Prompt(text="a \ud800 b"), "not valid Unicode"),
    ],
)
def test_a_prompt_that_cannot_be_read_is_refused(
    prompt: Prompt, match: str, tokenizer: Tokenizer
) -> None:
    with pytest.raises(PromptError, match=match) as refusal:
        tokenizer.encode_prompt(prompt)
    assert refusal.value.message == str(refusal.value)


def test_an_empty_text_without_a_template_is_refused(bare: Path) -> None:
    with pytest.raises(PromptError, match="empty"):
        Tokenizer.load(bare).encode_prompt(Prompt(text=""))


def test_special_tokens_are_shown_alone_but_not_in_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_text(2) == "<|im_end|>"
    assert tokenizer.decode([2]) == ""


def test_the_vocabulary_is_the_embeddings(tokenizer: Tokenizer, bare: Path) -> None:
    assert tokenizer.vocab_size == Tokenizer.load(bare).vocab_size == 49152
    (bare / "config.json").write_text('{"text_config": {"vocab_size": 50000}}')
    assert Tokenizer.load(bare).vocab_size == 50000


def test_broken_files_are_refused_by_name(bare: Path) -> None:
    (bare / "config.json").write_text("{")
    with pytest.raises(TokenizerError, match=r"config\.json"):
        Tokenizer.load(bare)
    (bare / "config.json").unlink()
    (bare / "chat_template.jinja").write_text("{% if %}")
    with pytest.raises(TokenizerError, match="chat template"):
        Tokenizer.load(bare)
    (bare / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        Tokenizer.load(bare)
    (bare / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match="missing"):
        Tokenizer.load(bare)


def test_threads_may_share_one(tokenizer: Tokenizer) -> None:
    expected = [tokenizer.encode_prompt(Prompt(text=text * 50)) for text in TEXTS]
    results: list[bool] = []

    def encode() -> None:
        for _ in range(20):
            ids = [tokenizer.encode_prompt(Prompt(text=text * 50)) for text in TEXTS]
            results.append(ids == expected)

    threads = [threading.Thread(target=encode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 80


GIVEN = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}"


def test_a_prompt_may_bring_its_own_template(tokenizer: Tokenizer, bare: Path) -> None:
    prompt = Prompt(text="hi <|im_end|>", chat_template=GIVEN)
    ids = tokenizer.encode_prompt(prompt)
    assert tokenizer.decode(ids).startswith("[user] hi <|im_end|>")
    # The caller's words close no turn, the template's own token does.
    assert [ids.index(2), ids.count(2)] == [len(ids) - 1, 1]
    template = GIVEN.replace("{{ eos_token }}", "")
    messages = Prompt(messages=(ChatMessage("user", "hi"),), chat_template=template)
    without = Tokenizer.load(bare)
    assert without.decode(without.encode_prompt(messages)) == "[user] hi"


def test_a_raw_prompt_takes_no_template(tokenizer: Tokenizer) -> None:
    raw = Prompt(text="hi", is_raw=True, chat_template=GIVEN)
    assert tokenizer.decode(tokenizer.encode_prompt(raw)) == "hi"


@pytest.mark.parametrize(
    ("source", "reason"),
    [("{% if %}", "cannot be compiled"), ("x" * 300_000, "more than 262144 bytes")],
)
def test_a_broken_template_of_a_prompt_is_refused(
    source: str, reason: str, tokenizer: Tokenizer
) -> None:
    with pytest.raises(PromptError, match=reason):
        tokenizer.encode_prompt(Prompt(text="hi", chat_template=source))
