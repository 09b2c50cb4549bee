"""Repairs to the tokenizer that transformers builds from a GGUF file.

A GGUF names how text is split before merging (`tokenizer.ggml.pre`); transformers 5.23 knows some
of these names and falls back to GPT-2's rule for the rest in silence. The names and rules here are
those of llama.cpp (`src/llama-vocab.cpp`, llm_tokenizer_bpe).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Each digit apart, then GPT-2's rule.
_DIGITS_APART = frozenset(
    {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
)
_GPT2_RULE = frozenset({"default", "gpt-2", "phi-2", "olmo", "mpt", "jais", "trillion"})


def repair_pre_tokenizer(model_dir: Path, pre: str, known: frozenset[str]) -> str | None:
    """Set the splitting rule named `pre` in `model_dir`/tokenizer.json.

    `known` are the names that transformers has applied already. Returns a warning where nobody
    knows the name, None where the rule is right.
    """
    if pre in known or pre in _GPT2_RULE:
        return None
    if pre not in _DIGITS_APART:
        return f"the pre-tokenizer {pre!r} is unknown: GPT-2's rule stands in, counts may differ"
    file = model_dir / "tokenizer.json"
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    content["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": True,
            },
        ],
    }
    file.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
    return None
