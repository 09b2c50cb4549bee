"""Small plugins that do one thing each, well or badly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plugins_app.base import ChunkContext, PluginRefusal
from tests.plugins_app.links import Plain


class Suffix(Plain):
    """Appends its configured text."""

    def execute(self, input_data: Any) -> Any:
        return replace(input_data, text=input_data.text + self.config["suffix"])


class Upper(Plain):
    def execute(self, input_data: Any) -> Any:
        return replace(input_data, text=input_data.text.upper())


class Same(Plain):
    def execute(self, input_data: Any) -> Any:
        return input_data


class Broken(Plain):
    def execute(self, input_data: Any) -> Any:
        raise ValueError("oh")


class Returns(Plain):
    """Whatever it is told to."""

    def execute(self, input_data: Any) -> Any:
        return self.config["value"]


class Refuses(Plain):
    """Where it finds its word, or always."""

    def execute(self, input_data: Any) -> Any:
        if self.config.get("word", "") in (input_data.text or ""):
            raise PluginRefusal("no such words here")
        return input_data


class Swaps(Plain):
    """Replaces `old` by `new`, also where a piece ends inside of it."""

    def execute(self, input_data: ChunkContext) -> ChunkContext:
        old = self.config["old"]
        text = (input_data.state.get("held", "") + input_data.text).replace(old, self.config["new"])
        num_held = 0 if input_data.is_last else _overlap(text, old)
        cut = len(text) - num_held
        state = {"held": text[cut:]} if num_held else {}
        return replace(input_data, text=text[:cut], state=state)


class HoldsAll(Plain):
    """Gives everything out at the end."""

    def execute(self, input_data: ChunkContext) -> ChunkContext:
        text = input_data.state.get("held", "") + input_data.text
        if input_data.is_last:
            return replace(input_data, text=text, state={})
        return replace(input_data, text="", state={"held": text})


def _overlap(text: str, word: str) -> int:
    return next((n for n in range(len(word) - 1, 0, -1) if text.endswith(word[:n])), 0)
