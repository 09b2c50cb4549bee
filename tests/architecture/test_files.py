"""The house rules that a reader relies on, kept by machine."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("llamagpu", "accounts", "monitoring", "plugins_app", "inference")
MAX_LINES = 400
MAX_FUNCTION_LINES = 50
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def tracked(*patterns: str) -> list[Path]:
    """Files of the project, new ones included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def product_files() -> list[Path]:
    return [
        path
        for path in tracked("*.py")
        if path.relative_to(ROOT).parts[0] in PACKAGES and "migrations" not in path.parts
    ]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    files = [
        path
        for path in tracked("*.py", "*.js", "*.css", "*.html")
        if "migrations" not in path.parts
    ]
    long = {name_of(p): n for p in files if (n := len(p.read_text().splitlines())) > MAX_LINES}
    assert long == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = []
    for path in product_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    long.append(f"{name_of(path)}:{node.lineno} {node.name} has {length} lines")
    assert long == []


def test_every_file_is_named_after_its_noun() -> None:
    assert [name_of(path) for path in tracked("*.py", "*.js") if path.stem in EMPTY_NAMES] == []


def test_every_module_says_what_it_is() -> None:
    exempt = {"__init__.py", "apps.py", "urls.py", "admin.py"}
    silent = [
        name_of(path)
        for path in product_files()
        if path.name not in exempt and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("stage", "path"),
    [
        ("Stage 1/7", "inference/api/views.py"),
        ("Stage 2/7", "inference/api/serializers.py"),
        ("Stage 3/7", "inference/admission.py"),
        ("Stage 3/7", "inference/dispatch.py"),
        ("Stages 4/7 and 6/7", "plugins_app/pipeline.py"),
        ("Stages 4 to 6/7", "inference/worker/generation.py"),
        ("Stage 6/7", "inference/stream.py"),
        ("Stage 6/7", "inference/worker/publisher.py"),
        ("Stage 7/7", "inference/api/responses.py"),
    ],
)
def test_each_stage_opens_with_its_number(stage: str, path: str) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    assert docstring.startswith(stage)


def test_nothing_is_pickled() -> None:
    names = ("pickle", "marshal", "shelve", "dill", "cloudpickle")
    guilty = []
    for path in product_files():
        for node in ast.walk(ast.parse(path.read_text())):
            modules = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            guilty += [name_of(path) for module in modules if module.split(".")[0] in names]
    assert guilty == []


def test_no_promise_is_left_in_the_code() -> None:
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    found = [
        f"{name_of(path)}:{number}"
        for path in tracked("*.py", "*.js", "*.html", "*.css", "Makefile")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if any(word in line for word in words)
    ]
    assert found == []


def test_templates_have_no_inline_script_or_style() -> None:
    for path in tracked("templates/*.html", "templates/**/*.html"):
        text = path.read_text()
        assert "<style" not in text, name_of(path)
        assert " style=" not in text, name_of(path)
        assert "<script>" not in text, name_of(path)
        assert " onclick=" not in text, name_of(path)
