"""Tells a model's ways: its chat template, what ends its answers, how it is best sampled."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

from plugins_app.base import AdaptContext, BasePlugin, Message

PLUGIN_METADATA = {
    "name": "Model adapter",
    "version": "1.0.0",
    "author": "LLaMA GPU",
    "description": "For the models that it is given to: a chat template in place of their own, stop "
    "strings, defaults for what callers leave open, and one spelling of equal characters.",
    "dependencies": [],
    "compatibility": ["cuda", "rocm", "cpu"],
    "category": "model_adapter",
}
SETTINGS_SCHEMA = {
    "type": "object",
    "properties": {
        "architectures": {
            "description": "such as LlamaForCausalLM; empty: whatever the model is",
            "type": "array",
            "items": {"type": "string", "maxLength": 100},
            "maxItems": 50,
            "default": [],
        },
        "chat_template": {
            "description": "Jinja; left out for remote models, which have their own",
            "type": ["string", "null"],
            "maxLength": 65536,
            "default": None,
        },
        "stop": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 256},
            "maxItems": 8,
            "default": [],
        },
        "defaults": {
            "description": "for parameters that the caller has not given; max_tokens is only lowered",
            "type": "object",
            "properties": {
                "temperature": {"type": "number", "minimum": 0, "maximum": 2},
                "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                "top_k": {"type": "integer", "minimum": 0, "maximum": 1000000},
                "min_p": {"type": "number", "minimum": 0, "maximum": 1},
                "repetition_penalty": {"type": "number", "minimum": 0.1, "maximum": 10},
                "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
                "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
                "max_tokens": {"type": "integer", "minimum": 1},
            },
            "additionalProperties": False,
            "default": {},
        },
        "unicode": {
            "description": "the normal form of what the tokenizer reads",
            "enum": ["as_it_is", "NFC", "NFKC"],
            "default": "as_it_is",
        },
    },
}


class ModelAdapter(BasePlugin):
    metadata = PLUGIN_METADATA

    def execute(self, input_data: AdaptContext) -> AdaptContext:
        config = self.config
        if config["architectures"] and input_data.architecture not in config["architectures"]:
            return input_data
        template = config["chat_template"] if input_data.backend != "remote" else None
        adapted = replace(
            input_data,
            chat_template=template or input_data.chat_template,
            stop=tuple(dict.fromkeys((*input_data.stop, *config["stop"]))),
            defaults={**input_data.defaults, **config["defaults"]},
        )
        return adapted if config["unicode"] == "as_it_is" else self._normalized(adapted)

    def _normalized(self, context: AdaptContext) -> AdaptContext:
        form: Any = self.config["unicode"]
        text, messages = context.text, context.messages
        if text is not None:
            text = unicodedata.normalize(form, text)
        if messages is not None:
            messages = tuple(
                Message(turn.role, unicodedata.normalize(form, turn.content)) for turn in messages
            )
        return replace(context, text=text, messages=messages)
