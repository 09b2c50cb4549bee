"""The file that a new plugin begins with: it runs as it is and changes next to nothing."""

from __future__ import annotations

from plugins_app.base import PluginCategory

_FILE = '''"""{title}: say here what it does."""

from dataclasses import replace

from plugins_app.base import {imports}

# Read without running this file: literals only.
PLUGIN_METADATA = {{
    "name": "{title}",
    "version": "0.1.0",
    "author": "{author}",
    "description": "Say here what it does.",
    "dependencies": [],
    "compatibility": ["cuda", "rocm", "cpu"],
    "category": "{category}",
}}
# JSON Schema: settings are checked against it, defaults filled in.
SETTINGS_SCHEMA = {{
    "type": "object",
    "properties": {{
{settings}
    }},
}}


class {class_name}(BasePlugin):
    metadata = PLUGIN_METADATA

    def initialize(self):
        """Once, before the first request. False keeps the plugin out."""
        return True

{execute}

    def cleanup(self):
        """Once, behind the last request."""
'''

_TEXT_SETTING = '        "{name}": {{"type": "string", "maxLength": 1000, "default": "{default}"}},'
_WORD = _TEXT_SETTING.format(name="word", default="llama")
_SETTINGS = {
    PluginCategory.PRE_PROCESSOR: _TEXT_SETTING.format(name="preface", default=""),
    PluginCategory.STREAM_FILTER: _WORD,
    PluginCategory.OUTPUT_PROCESSOR: _TEXT_SETTING.format(name="signature", default=""),
    PluginCategory.MODEL_ADAPTER: _TEXT_SETTING.format(name="stop", default=""),
    PluginCategory.OBSERVER: '        "slow": {"type": "number", "minimum": 0, "default": 10},',
}
_IMPORTS = {
    PluginCategory.PRE_PROCESSOR: "BasePlugin, Message, PluginRefusal, PromptContext",
    PluginCategory.STREAM_FILTER: "BasePlugin, ChunkContext",
    PluginCategory.OUTPUT_PROCESSOR: "BasePlugin, PluginRefusal, ResultContext",
    PluginCategory.MODEL_ADAPTER: "AdaptContext, BasePlugin",
    PluginCategory.OBSERVER: "BasePlugin, FinishedContext",
}
_EXECUTES = {
    PluginCategory.PRE_PROCESSOR: '''
    def execute(self, input_data: PromptContext) -> PromptContext:
        """What the model will read: a text, or messages."""
        preface = self.config["preface"]
        if input_data.text == "refuse me":
            raise PluginRefusal("the caller reads this reason")
        if not preface:
            return input_data
        if input_data.messages is not None:
            return replace(input_data, messages=(Message("system", preface), *input_data.messages))
        return replace(input_data, text=f"{preface}\\n\\n{input_data.text}")
''',
    PluginCategory.STREAM_FILTER: '''
    def execute(self, input_data: ChunkContext) -> ChunkContext:
        """A piece of an answer. The word may begin in one piece and end in the next: what could
        become the word is held back in `state`, and the last piece gives out everything."""
        word = self.config["word"]
        text = input_data.state.get("held", "") + input_data.text
        if word:
            text = text.replace(word, word.upper())
        length = 0 if input_data.is_last else self._begun(text, word)
        held = text[len(text) - length :]
        state = {"held": held} if held else {}
        return replace(input_data, text=text[: len(text) - length], state=state)

    def _begun(self, text, word):
        """How many characters at the end of `text` begin the word."""
        lengths = range(min(len(text), len(word) - 1), 0, -1)
        return next((n for n in lengths if text.endswith(word[:n])), 0)
''',
    PluginCategory.OUTPUT_PROCESSOR: '''
    def execute(self, input_data: ResultContext) -> ResultContext:
        """A whole answer. Streams wait for it: prefer a stream filter where pieces are enough."""
        if input_data.text == "refuse me":
            raise PluginRefusal("the caller reads this reason")
        return replace(input_data, text=input_data.text + self.config["signature"])
''',
    PluginCategory.MODEL_ADAPTER: '''
    def execute(self, input_data: AdaptContext) -> AdaptContext:
        """How a model is spoken to: template, stop strings, defaults for what callers leave open."""
        if not self.config["stop"]:
            return input_data
        return replace(input_data, stop=(*input_data.stop, self.config["stop"]))
''',
    PluginCategory.OBSERVER: '''
    def execute(self, input_data: FinishedContext) -> FinishedContext:
        """How a request ended, in figures. What is printed goes to the portal's log."""
        if input_data.duration > self.config["slow"]:
            print(f"slow: {input_data.request_id} took {input_data.duration:.1f} s")
        return input_data
''',
}


def skeleton(slug: str, category: PluginCategory, author: str) -> str:
    """The source of a plugin with the id `slug`."""
    words = [word for word in slug.replace("-", "_").split("_") if word]
    class_name = "".join(word.capitalize() for word in words)
    source = _FILE.format(
        title=" ".join(words).capitalize(),
        author=author,
        category=category.value,
        imports=_IMPORTS[category],
        settings=_SETTINGS[category],
        class_name=class_name if class_name[:1].isalpha() else f"Plugin{class_name}",
        execute=_EXECUTES[category].strip("\n"),
    )
    needs_replace = "replace(" in _EXECUTES[category].replace(".replace(", "")
    return source if needs_replace else source.replace("from dataclasses import replace\n\n", "")
