"""A model's chat template: messages in, the exact text that the model was trained to read out.

Templates are Jinja programs that come with a downloaded model, so they are foreign code: they run
in Jinja's immutable sandbox, with bounds on time and size (`inference.template_sandbox`), and see
nothing but strings and what JSON holds. Their
environment (whitespace rules, loop controls, `tojson`, `raise_exception`, `strftime_now`, guarded namespaces)
follows `transformers.utils.chat_template_utils`, byte for byte, which a test proves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.utils import Namespace

from inference.model_files import ModelFilesError, read_json_object
from inference.protocol import ChatMessage
from inference.template_sandbox import LimitedEnvironment, limited_rendering
from inference.tool_turns import arguments_of, tell_plainly

# Published templates are under 50 KB; compiling a megabyte of tags would take many seconds.
MAX_TEMPLATE_BYTES = 256 * 1024
MAX_RENDERED_CHARS = 16 * 1024 * 1024
_SPECIAL_TOKENS = (
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
)  # fmt: skip


class ChatTemplateError(ValueError):
    """The template is broken or refuses these messages. The message says which, and why."""


class ChatTemplate:
    """A compiled template. Rendering keeps no state, so threads may share one."""

    def __init__(self, source: str, special_tokens: dict[str, str] | None = None) -> None:
        """`special_tokens` (`bos_token` and so on) are visible to the template.

        Raises ChatTemplateError where the source is no valid template.
        """
        if len(source.encode(errors="replace")) > MAX_TEMPLATE_BYTES:
            raise ChatTemplateError(f"the chat template has more than {MAX_TEMPLATE_BYTES} bytes")
        self._special_tokens = dict(special_tokens or {})
        environment = _environment()
        try:
            self._template = environment.from_string(source)
            named = meta.find_undeclared_variables(environment.parse(source))
        except (jinja2.TemplateError, RecursionError) as error:
            raise ChatTemplateError(f"the chat template cannot be compiled: {error}") from error
        self._knows_tools = "tools" in named

    @property
    def knows_tools(self) -> bool:
        """Whether it shows a model the functions that it may call."""
        return self._knows_tools

    @classmethod
    def load(cls, model_dir: Path) -> ChatTemplate | None:
        """The template of the model in `model_dir`, None where it has none.

        `chat_template.jinja` wins over `chat_template` of tokenizer_config.json, as in
        transformers. Raises ChatTemplateError.
        """
        config = _tokenizer_config(model_dir)
        source = _read_template_file(model_dir / "chat_template.jinja")
        if source is None:
            source = _select_template(config.get("chat_template"))
        if source is None:
            return None
        return cls(source, _special_tokens(model_dir, config))

    def render(
        self,
        messages: Iterable[ChatMessage],
        add_generation_prompt: bool = True,
        tools: Sequence[dict[str, Any]] = (),
        protect: Callable[[Any], Any] = lambda value: value,
    ) -> str:
        """The prompt text of `messages`, ready for the model's turn where asked for.

        Where it knows no tools, definitions, calls and results are told as plain text. `protect` is
        given the turns and the tools, and gives back what the template shall see of them.

        Raises ChatTemplateError where the template refuses them, fails, takes too long or writes
        too much.
        """
        if not self._knows_tools:
            messages, tools = tell_plainly(messages, tools), ()
        turns = protect([_turn(message) for message in messages])
        if not turns:
            raise ChatTemplateError("a conversation needs at least one message")
        parts: list[str] = []
        size = 0
        try:
            with limited_rendering():
                for part in self._template.generate(
                    messages=turns,
                    tools=protect(list(tools)) or None,
                    documents=None,
                    add_generation_prompt=add_generation_prompt,
                    **self._special_tokens,
                ):
                    size += len(part)
                    if size > MAX_RENDERED_CHARS:
                        message = f"it wrote more than {MAX_RENDERED_CHARS} characters"
                        raise ChatTemplateError(message)
                    parts.append(part)
        except Exception as error:  # foreign code raises anything
            raise ChatTemplateError(f"the chat template failed: {error}") from error
        return "".join(parts)


def special_tokens_of(model_dir: Path) -> dict[str, str]:
    """What templates of the model in `model_dir` may name. Raises ChatTemplateError."""
    return _special_tokens(model_dir, _tokenizer_config(model_dir))


def _turn(message: ChatMessage) -> dict[str, Any]:
    """One message as templates know it; what it does not have is not there."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name:
        turn["name"] = message.name
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": arguments_of(call)},
            }
            for call in message.tool_calls
        ]
    return turn


class _GenerationBlock(Extension):
    """`{% generation %}` marks the model's words for training; here it is its content, no more."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class _TemplateDict:
    """`dict` for templates without the attributes of the real type, a way out of the sandbox."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _TemplateNamespace(Namespace):
    """`namespace()` that refuses names with a leading underscore (CPython's internals)."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        # As in Jinja: a signature without names lets templates call namespace(self=...).
        self, rest = args[0], args[1:]
        values = dict(*rest, **kwargs)
        for name in values:
            _check_namespace_name(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_namespace_name(name)
        super().__setitem__(name, value)


def _check_namespace_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot hold the name {name!r}")


def _environment() -> LimitedEnvironment:
    environment = LimitedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.globals["dict"] = _TemplateDict()
    environment.globals["namespace"] = _TemplateNamespace
    environment.limit_filters()
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes HTML, which would change what the model reads.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _strftime_now(form: str) -> str:
    # The server's local day, as transformers has it: templates print dates for people.
    return datetime.now().astimezone().strftime(form)


def _tokenizer_config(model_dir: Path) -> dict[str, Any]:
    file = model_dir / "tokenizer_config.json"
    if not file.exists():
        return {}
    try:
        return read_json_object(file)
    except ModelFilesError as error:
        raise ChatTemplateError(str(error)) from error


def _read_template_file(file: Path) -> str | None:
    try:
        if file.stat().st_size > MAX_TEMPLATE_BYTES:
            raise ChatTemplateError(f"{file}: larger than {MAX_TEMPLATE_BYTES} bytes")
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ChatTemplateError(f"{file}: cannot be read: {error}") from error


def _select_template(value: Any) -> str | None:
    """`chat_template` is one source, or a list of named ones of which `default` serves chats."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        named = {item.get("name"): item.get("template") for item in value}
        source = named.get("default", next(iter(named.values()), None) if len(named) == 1 else None)
        if isinstance(source, str):
            return source
    raise ChatTemplateError("tokenizer_config.json: chat_template has no default template")


def _special_tokens(model_dir: Path, config: dict[str, Any]) -> dict[str, str]:
    """Special tokens by their name; older models keep them in special_tokens_map.json."""
    legacy: dict[str, Any] = {}
    legacy_file = model_dir / "special_tokens_map.json"
    if legacy_file.exists():
        try:
            legacy = read_json_object(legacy_file)
        except ModelFilesError as error:
            raise ChatTemplateError(str(error)) from error
    tokens: dict[str, str] = {}
    for name in _SPECIAL_TOKENS:
        value = config.get(name, legacy.get(name))
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            tokens[name] = value
    return tokens
