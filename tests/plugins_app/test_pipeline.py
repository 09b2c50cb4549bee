from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plugins_app.base import BasePlugin, PluginRefusal, PromptContext, ResultContext
from plugins_app.pipeline import Pipeline

PROMPT = PromptContext(request_id="r", model="m", text="hello", messages=None)
RESULT = ResultContext(request_id="r", model="m", text="world")


class Suffix(BasePlugin):
    """Appends its configured text."""

    @property
    def metadata(self) -> dict[str, Any]:
        return {
            "name": self.config["name"],
            "version": "1.0.0",
            "category": self.config["category"],
        }

    def execute(self, input_data: Any) -> Any:
        return replace(input_data, text=input_data.text + self.config["suffix"])


class Broken(Suffix):
    def execute(self, input_data: Any) -> Any:
        raise ValueError("oh")


class Garbage(Suffix):
    def execute(self, input_data: Any) -> Any:
        return {"text": "not a context"}


class Refuses(Suffix):
    def execute(self, input_data: Any) -> Any:
        raise PluginRefusal("no such words here")


def make(cls: type[Suffix], name: str, category: str = "pre_processor") -> BasePlugin:
    return cls({"name": name, "category": category, "suffix": f"-{name}"})


def test_plugins_run_in_order() -> None:
    prompt, acted = Pipeline([make(Suffix, "a"), make(Suffix, "b")]).before(PROMPT)
    assert prompt.text == "hello-a-b"
    assert acted == ["a", "b"]


def test_each_category_runs_at_its_own_time() -> None:
    pipeline = Pipeline([make(Suffix, "a"), make(Suffix, "b", "output_processor")])
    assert pipeline.before(PROMPT)[1] == ["a"]
    result, acted = pipeline.after(RESULT)
    assert (result.text, acted) == ("world-b", ["b"])


@pytest.mark.parametrize("cls", [Broken, Garbage])
def test_a_faulty_plugin_is_skipped(cls: type[Suffix]) -> None:
    prompt, acted = Pipeline([make(cls, "bad"), make(Suffix, "good")]).before(PROMPT)
    assert prompt.text == "hello-good"
    assert acted == ["good"]


def test_a_refusal_ends_the_request() -> None:
    with pytest.raises(PluginRefusal, match="no such words"):
        Pipeline([make(Refuses, "r")]).before(PROMPT)


def test_without_plugins_nothing_changes() -> None:
    assert Pipeline().before(PROMPT) == (PROMPT, [])
