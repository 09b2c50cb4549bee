"""The text: long enough, ours, and cut so that nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import processors

from inference.engine.errors import LoadError
from inference.engine.quality.windows import TEXT_FILE, text_windows
from inference.tokenizer import Tokenizer
from tests.environment import MODEL_ROOT
from tests.inference.engine.tiny_models import EOS, byte_tokenizer

DEFAULT_MODEL = MODEL_ROOT / "smollm2-135m-instruct"


def test_the_text_has_eight_thousand_tokens_of_the_default_model() -> None:
    tokenizer = Tokenizer.load(DEFAULT_MODEL)
    windows = text_windows(tokenizer)
    joined = [token_id for window in windows for token_id in window]
    assert len(joined) >= 8400
    assert joined == tokenizer.encode_plain(TEXT_FILE.read_text(encoding="utf-8"))
    lengths = [len(window) for window in windows]
    assert max(lengths) <= 1024
    assert max(lengths) - min(lengths) <= 1


def test_the_text_can_be_cut_short() -> None:
    tokenizer = Tokenizer.load(DEFAULT_MODEL)
    whole = text_windows(tokenizer)[0]
    short = text_windows(tokenizer, length=100, num_tokens=250)
    assert [len(window) for window in short] == [83, 83, 84]
    assert [token_id for window in short for token_id in window] == whole[:250]


def test_every_window_begins_as_the_tokenizer_begins_a_text(tmp_path: Path) -> None:
    backend = byte_tokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="<end> $A", special_tokens=[("<end>", EOS)]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    windows = text_windows(Tokenizer.load(tmp_path), length=64, num_tokens=200)
    assert [window[0] for window in windows] == [EOS] * 4
    assert [len(window) for window in windows] == [51] * 4
    assert not any(EOS in window[1:] for window in windows)


@pytest.mark.parametrize(("length", "num_tokens"), [(4, None), (512, 3), (512, 0), (512, -9)])
def test_what_is_too_short_to_judge_by_is_refused(length: int, num_tokens: int | None) -> None:
    with pytest.raises(LoadError, match="too few to judge by"):
        text_windows(Tokenizer.load(DEFAULT_MODEL), length=length, num_tokens=num_tokens)
