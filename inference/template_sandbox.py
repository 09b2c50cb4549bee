"""Jinja's immutable sandbox with an end to everything: time, steps, and the size of every value.

A chat template comes with a downloaded model and is rendered in the web process. Jinja's sandbox
keeps it from Python's inside, but not from looping for hours or building gigabytes. Here each loop,
call, filter, operator and assignment is counted against a budget of the rendering thread, and no
value that a template makes may grow beyond what any conversation needs. What multiplies (`*`,
`replace`, `center`) is refused before it is computed.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import jinja2
from jinja2 import nodes, pass_context
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

MAX_CPU_SECONDS = 2.0
MAX_STEPS = 1_000_000
#: Characters that a rendering may make in total, and that one value may hold.
MAX_MADE_CHARS = 256 * 1024 * 1024
MAX_VALUE_CHARS = 16 * 1024 * 1024
#: Items of one value, those of the values inside it included as often as they appear.
MAX_VALUE_ITEMS = 200_000
_MAX_INTEGER_BITS = 4096
# Quadratic on hostile text, and of no use in a prompt.
_REMOVED_FILTERS = ("pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr")
_LONG_WIDTH = re.compile(r"%[^%a-zA-Z]*(?:\d{5}|\*)|\{[^{}]*(?:\d{5}|\{)")
_ITEMS, _STEP, _JOINED, _MADE = "_items", "_step", "_joined", "_made"


class TemplateLimitError(jinja2.TemplateRuntimeError):
    """The template asked for more than any prompt needs. The message says of what."""


class _Budget(threading.local):
    """What the rendering of this thread may still use."""

    steps = 0
    chars = 0
    ends_at = 0.0

    def charge(self, steps: int = 1, chars: int = 0) -> None:
        self.steps -= steps
        self.chars -= chars
        if self.steps < 0:
            raise TemplateLimitError(f"it took more than {MAX_STEPS} steps")
        if self.chars < 0:
            raise TemplateLimitError(f"it made more than {MAX_MADE_CHARS} characters")
        # Processor time of this thread: a busy machine must not refuse what an idle one allows.
        if time.thread_time() > self.ends_at:
            raise TemplateLimitError(f"it took more than {MAX_CPU_SECONDS:g} seconds")


_budget = _Budget()


@contextmanager
def limited_rendering() -> Iterator[None]:
    """A fresh budget for what this thread renders inside."""
    _budget.steps, _budget.chars = MAX_STEPS, MAX_MADE_CHARS
    _budget.ends_at = time.thread_time() + MAX_CPU_SECONDS
    yield


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """Renders only inside `limited_rendering`; raises TemplateLimitError."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self, **options: Any) -> None:
        # Constants must not be computed while compiling, where nothing is counted.
        super().__init__(optimized=False, finalize=_finalize, **options)
        for name in _REMOVED_FILTERS:
            del self.filters[name]

    def limit_filters(self) -> None:
        """Count every filter that the environment has by now. Call it once, when all are set."""
        self.filters = {name: _limited(name, call) for name, call in self.filters.items()}
        self.filters |= {_ITEMS: _items, _STEP: _step, _JOINED: _joined, _MADE: _made}

    def call(self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        target = getattr(__obj, "__wrapped__", __obj)
        if isinstance(__obj, LoopContext) and args:
            args = (_items(__context, args[0], 0), *args[1:])
        owner = getattr(target, "__self__", None)
        if isinstance(owner, str):
            _check_growth(target.__name__, owner, (*args, *kwargs.values()))
        return _admit(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator in ("*", "**"):
            _check_product(operator, left, right)
        if operator == "%" and isinstance(left, str):
            _check_growth("format", left, (right,))
        return _admit(super().call_binop(context, operator, left, right))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Instrument().visit(super()._parse(source, name, filename))
        return tree


class _Instrument(NodeTransformer):
    """Lets loops, conditions, assignments and literals pass through the counting filters."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        literals = sum(
            len(data.data) for part in node.body for data in _inside(part, nodes.TemplateData)
        )
        node.iter = _through(_ITEMS, node.iter, nodes.Const(literals))
        return node

    def visit_If(self, node: nodes.If) -> nodes.Node:
        self.generic_visit(node)
        node.test = _through(_STEP, node.test)
        return node

    def visit_CondExpr(self, node: nodes.CondExpr) -> nodes.Node:
        self.generic_visit(node)
        node.test = _through(_STEP, node.test)
        return node

    def visit_Assign(self, node: nodes.Assign) -> nodes.Node:
        node.node = self.visit(node.node)
        node.node = _through(_STEP, node.node)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return _through(_JOINED, parts)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return _through(_MADE, node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        return _through(_MADE, node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        # In `for key, value in ...` a tuple is a pattern, not a value.
        return _through(_MADE, node) if node.ctx == "load" else node


def _inside(node: nodes.Node, kind: type[nodes.TemplateData]) -> Iterable[nodes.TemplateData]:
    return (node,) if isinstance(node, kind) else node.find_all(kind)


def _through(name: str, node: nodes.Node, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(
        cast("nodes.Expr", node), name, list(args), [], None, None, lineno=node.lineno
    )


@pass_context
def _finalize(context: Context, value: Any) -> Any:
    """Every value on its way into the text."""
    return _admit(value)


@pass_context
def _items(context: Context, value: Any, literals: int) -> Any:
    """What a loop runs over; a round costs a step and the literal text of the loop's body."""
    try:
        count = len(value)
    except TypeError:
        return _counted(value, literals) if hasattr(value, "__next__") else value
    _budget.charge(count, count * literals)
    return value


def _counted(items: Iterable[Any], literals: int) -> Iterator[Any]:
    for item in items:
        _budget.charge(1, literals)
        yield item


@pass_context
def _step(context: Context, value: Any) -> Any:
    _budget.charge()
    return value


@pass_context
def _joined(context: Context, parts: list[Any]) -> str:
    """`a ~ b`, whose parts are written as text."""
    _admit(parts)
    return "".join(map(str, parts))


@pass_context
def _made(context: Context, value: Any) -> Any:
    return _admit(value)


def _limited(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a filter that is counted. That it takes the context keeps it from being
    computed while compiling.
    """
    wants = getattr(function, "jinja_pass_arg", None)

    @pass_context
    def run(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, Iterator):
            value = list(_counted(value, 0))
        _admit(value)
        _check_growth(name, value, (*args, *kwargs.values()))
        first = {"context": context, "eval_context": context.eval_ctx}
        extra = () if wants is None else (first.get(wants.name, context.environment),)
        result = function(*extra, value, *args, **kwargs)
        if isinstance(result, Iterator):
            return _counted(result, 0)
        return _admit(result)

    return run


def _admit(value: Any) -> Any:
    """Charge for `value` and hand it on. Raises TemplateLimitError for one that is too large.

    Shared parts count as often as they appear: writing, comparing or hashing walks them so often.
    """
    if isinstance(value, str):
        num_items, num_chars = 1, len(value)
    else:
        num_items, num_chars = _weigh(value)
    if num_items > MAX_VALUE_ITEMS or num_chars > MAX_VALUE_CHARS:
        raise TemplateLimitError("it made a value that is too large")
    _budget.charge(1 + num_items // 16, num_chars)
    return value


def _weigh(value: Any) -> tuple[int, int]:
    """Items and characters of `value`, counted no further than is too large."""
    num_items = num_chars = 0
    waiting = [value]
    while waiting and num_items <= MAX_VALUE_ITEMS and num_chars <= MAX_VALUE_CHARS:
        item = waiting.pop()
        num_items += 1
        if isinstance(item, str | bytes):
            num_chars += len(item)
        elif isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            waiting.extend(item)
        elif isinstance(item, Namespace):
            waiting.extend(item._Namespace__attrs.values())
    return num_items + len(waiting), num_chars


def _check_product(operator: str, left: Any, right: Any) -> None:
    """Refuse repetitions and powers that are too large, before they are computed."""
    if isinstance(left, int) and isinstance(right, int):
        factor = max(0, right) if operator == "**" else 1
        bits = left.bit_length() * factor if operator == "**" else _bits(left) + _bits(right)
        if bits > _MAX_INTEGER_BITS:
            raise TemplateLimitError("it computes with a number that is too large")
        return
    for sequence, count in ((left, right), (right, left)):
        if isinstance(sequence, str | list | tuple) and isinstance(count, int):
            num_items, num_chars = _weigh(sequence)
            if max(num_items if not isinstance(sequence, str) else 0, num_chars) * count > (
                MAX_VALUE_CHARS
            ):
                raise TemplateLimitError("it repeats a value too often")


def _bits(number: int) -> int:
    return number.bit_length()


def _check_growth(name: str, value: Any, args: tuple[Any, ...]) -> None:
    """Refuse methods and filters whose result is far larger than what goes in."""
    text = value if isinstance(value, str) else ""
    numbers = [abs(arg) for arg in args if isinstance(arg, int)]
    texts = [arg for arg in args if isinstance(arg, str)]
    widest = max([*numbers, *(len(arg) for arg in texts)], default=0)
    if name == "replace" and len(texts) > 1:
        size = len(text) + text.count(texts[0]) * len(texts[1])
    elif name in ("expandtabs", "indent"):
        size = (text.count("\t") + text.count("\n") + 1) * max(widest, 8)
    elif name == "join":
        inside = value if not text else next((arg for arg in args if not isinstance(arg, str)), ())
        between = text or (texts[0] if texts else "")
        size = len(between) * (len(inside) if hasattr(inside, "__len__") else MAX_VALUE_ITEMS)
    elif name in ("format", "format_map") and _LONG_WIDTH.search(text):
        size = MAX_VALUE_CHARS + 1
    elif name == "tojson":
        size = _weigh(value)[0] * (widest + 1) * 4
    else:
        size = max(numbers, default=0)
    if size > MAX_VALUE_CHARS:
        raise TemplateLimitError(f"'{name}' would make a value that is too large")
