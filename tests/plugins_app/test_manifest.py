"""PLUGIN_METADATA is read without running the file; each refusal names the field and the rule."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins_app.base import Hook, PluginCategory
from plugins_app.manifest import ManifestError, read_manifest
from plugins_app.plugin_source import MAX_SOURCE
from tests.plugins_app.conftest import source

GOOD: dict[str, Any] = {
    "name": "A",
    "version": "1.0.0",
    "author": "B",
    "description": "C",
    "dependencies": [],
    "compatibility": ["cpu"],
    "category": "observer",
}
CLASS = """
class A(BasePlugin):
    metadata = PLUGIN_METADATA
    def execute(self, data): return data
"""


def read(tmp_path: Path, text: str) -> Any:
    file = tmp_path / "plugin.py"
    file.write_text(text)
    return read_manifest(file)


def read_with(tmp_path: Path, **changes: Any) -> Any:
    metadata = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    return read(tmp_path, f"PLUGIN_METADATA = {metadata!r}\n{CLASS}")


def test_the_design_documents_own_example_is_read(tmp_path: Path) -> None:
    manifest = read_with(
        tmp_path,
        name="Custom Model Adapter",
        dependencies=["torch>=2.0.0", "transformers>=4.30.0"],
        compatibility=["cuda", "rocm", "cpu"],
        category="model_adapter",
    )
    assert manifest.category is PluginCategory.MODEL_ADAPTER
    assert manifest.hooks == (Hook.ADAPT,)
    assert manifest.dependencies == ("torch>=2.0.0", "transformers>=4.30.0")
    assert (manifest.class_name, manifest.api_version, manifest.settings_schema) == ("A", 1, None)


def test_a_package_is_read_by_its_init(tmp_path: Path) -> None:
    (tmp_path / "loud").mkdir()
    (tmp_path / "loud" / "__init__.py").write_text(source(name="Loud"))
    assert read_manifest(tmp_path / "loud").name == "Loud"


def test_nothing_of_the_file_is_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    text = f"open({str(trace)!r}, 'w').write('ran')\n{source()}"
    assert read(tmp_path, text).name == "Loud"
    assert not trace.exists()


@pytest.mark.parametrize(
    ("alias", "category"), [("post_processor", "output_processor"), ("analytics", "observer")]
)
def test_other_words_for_a_category_are_taken(tmp_path: Path, alias: str, category: str) -> None:
    assert read_with(tmp_path, category=alias).category == category


def test_hooks_may_be_named(tmp_path: Path) -> None:
    assert read_with(tmp_path, hooks=["chunk", "prompt"]).hooks == (Hook.PROMPT, Hook.CHUNK)


@pytest.mark.parametrize(
    "version", ["1.0.0", "2.1", "1.0.0-alpha.1+build.5", "2026.11.29", "1.0rc1"]
)
def test_versions_of_both_customs_are_taken(tmp_path: Path, version: str) -> None:
    assert read_with(tmp_path, version=version).version == version


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ...}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\x00b"}, "PLUGIN_METADATA"),
        ({"name": "a\ud800b"}, "PLUGIN_METADATA"),
        ({"author": 5}, "author"),
        ({"name": "a\x7fb"}, "name"),
        ({"version": "one"}, "version"),
        ({"dependencies": "torch"}, "dependencies"),
        ({"dependencies": ["torch >= "]}, "dependencies"),
        ({"dependencies": ["torch @ https://example.org/torch.whl"]}, "dependencies"),
        ({"dependencies": ["a", "a"]}, "dependencies"),
        ({"dependencies": ["a; os_name == '\ud800'"]}, "PLUGIN_METADATA"),
        ({"author": {1, 2}}, "PLUGIN_METADATA"),
        ({"author": b"x"}, "PLUGIN_METADATA"),
        ({"compatibility": []}, "compatibility"),
        ({"compatibility": ["tpu"]}, "compatibility"),
        ({"category": "magic"}, "category"),
        ({"category": ["observer"]}, "category"),
        ({"hooks": []}, "hooks"),
        ({"hooks": ["before"]}, "hooks"),
        ({"api_version": 2}, "api_version"),
        ({"api_version": True}, "api_version"),
        ({"licence": "MIT"}, "'licence'"),
        ({5: "x"}, "5"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: Any, field: str) -> None:
    metadata = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    with pytest.raises(ManifestError) as refused:
        read(tmp_path, f"PLUGIN_METADATA = {metadata!r}\n{CLASS}")
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (CLASS, "PLUGIN_METADATA"),
        (f"PLUGIN_METADATA = make()\n{CLASS}", "PLUGIN_METADATA"),
        (f"PLUGIN_METADATA = [1]\n{CLASS}", "PLUGIN_METADATA"),
        (f"PLUGIN_METADATA = {GOOD}\nPLUGIN_METADATA = {GOOD}\n{CLASS}", "PLUGIN_METADATA"),
        (f"PLUGIN_METADATA = {'[' * 60}{']' * 60}\n{CLASS}", "PLUGIN_METADATA"),
        (f"PLUGIN_METADATA = {GOOD}", "class"),
        (f"PLUGIN_METADATA = {GOOD}\n{CLASS}{CLASS}", "class"),
        (f"PLUGIN_METADATA = {GOOD}\n{CLASS}class B(A): pass", "class"),
        (f"PLUGIN_METADATA = {GOOD}\nclass A(BasePlugin): metadata = {{}}", "class"),
        (f"PLUGIN_METADATA = {GOOD}\n{CLASS.replace('def', 'async def')}", "class"),
        (f"PLUGIN_METADATA = {GOOD}\n{CLASS.replace('self, data', 'self')}", "class"),
        (f"PLUGIN_METADATA = {GOOD}\n{CLASS.replace('metadata = PLUGIN_METADATA', '')}", "class"),
        (f"PLUGIN_METADATA = {GOOD}\nSETTINGS_SCHEMA = []\n{CLASS}", "SETTINGS_SCHEMA"),
        (f"PLUGIN_METADATA = {GOOD}\nSETTINGS_SCHEMA = {{'type': {{1}}}}\n{CLASS}", "SETTINGS_SCHEMA"),
        ("def (", "file"),
        ("x = " + "-" * 100_000 + "1", "file"),
        ("x = 1" + "+1" * 100_000, "file"),
        ("x = 1\n" + "#" * MAX_SOURCE, "file"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_plugin_is_refused(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(ManifestError) as refused:
        read(tmp_path, text)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"x = '\x00'", "# -*- coding: latin-1 -*-\nx = 'é'".encode("latin-1")]
)
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "plugin.py").write_bytes(content)
    with pytest.raises(ManifestError, match="file: "):
        read_manifest(tmp_path / "plugin.py")


_words = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from([*GOOD, "hooks", "api_version"]), _words, max_size=3), _words
)
@settings(max_examples=100, deadline=None)
def test_whatever_stands_in_a_file_ends_in_a_manifest_or_a_reason(
    changes: Any, schema: Any
) -> None:
    text = f"PLUGIN_METADATA = {GOOD | changes!r}\nSETTINGS_SCHEMA = {schema!r}\n{CLASS}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plugin.py"
        file.write_text(text, encoding="utf-8", errors="replace")
        with contextlib.suppress(ManifestError):
            json.dumps(read_manifest(file).settings_schema, allow_nan=False)
