"""What can be read in a plugin's source without running it: literals and classes. No Django."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Bytes of the one file that is parsed.
MAX_SOURCE = 512 * 1024
MAX_DEPTH = 24
MAX_NODES = 20_000
_BASE = "BasePlugin"


class SourceError(Exception):
    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


def read_tree(file: Path) -> ast.Module:
    """The parsed source. Raises SourceError."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_SOURCE + 1)
    except OSError as error:
        raise SourceError("file", f"cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_SOURCE:
        raise SourceError("file", f"is larger than {MAX_SOURCE} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError("file", f"is not UTF-8 (byte {error.start})") from error
    try:
        return ast.parse(text)
    except SyntaxError as error:
        place = f" (line {error.lineno})" if error.lineno else ""
        raise SourceError("file", f"is not Python: {error.msg}{place}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        # Python's parser says so of NUL bytes and of what is nested without end.
        raise SourceError("file", f"cannot be parsed: {str(error) or 'nested too deep'}") from error


def literal(tree: ast.Module, name: str) -> Any:
    """The value that the module gives to `name`, None where it gives none. Raises SourceError."""
    nodes = list(_values_of(tree, name))
    if not nodes:
        return None
    if len(nodes) > 1:
        raise SourceError(name, "is assigned more than once")
    _check_size(nodes[0], name)
    try:
        return ast.literal_eval(nodes[0])
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise SourceError(name, "must be a literal: it is read without running the file") from error


def plugin_classes(tree: ast.Module) -> list[ast.ClassDef]:
    """The classes of the module that derive from BasePlugin, also by way of each other."""
    known, found = {_BASE}, []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(_name_of(base) in known for base in node.bases):
            known.add(node.name)
            found.append(node)
    return found


def class_problem(node: ast.ClassDef) -> str | None:
    """Why the class does not keep to the contract, or None."""
    methods = {
        member.name: member
        for member in node.body
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for name in ("initialize", "execute", "cleanup", "metadata"):
        if isinstance(methods.get(name), ast.AsyncFunctionDef):
            return f"{node.name}.{name} must not be async"
    execute = methods.get("execute")
    if execute is None:
        return f"{node.name} has no method execute"
    arguments = execute.args
    takes = len(arguments.posonlyargs) + len(arguments.args)
    if takes < 2 and arguments.vararg is None:
        return f"{node.name}.execute must take the context that it is called with"
    if takes - len(arguments.defaults) > 2:
        return f"{node.name}.execute is called with one argument alone"
    if "metadata" not in methods and not _assigns(node, "metadata"):
        return f"{node.name} has no property metadata"
    return None


def _values_of(tree: ast.Module, name: str) -> Iterator[ast.expr]:
    for node in tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value = node.value  # type: ignore[attr-defined]  # both kinds have one
            yield value


def _assigns(node: ast.ClassDef, name: str) -> bool:
    return any(
        isinstance(member, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == name for target in member.targets)
        for member in node.body
    )


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _check_size(node: ast.AST, name: str) -> None:
    level, num_nodes, depth = [node], 0, 0
    while level:
        num_nodes, depth = num_nodes + len(level), depth + 1
        if num_nodes > MAX_NODES or depth > 2 * MAX_DEPTH:
            raise SourceError(name, "is too large or nested too deep")
        level = [child for outer in level for child in ast.iter_child_nodes(outer)]
