"""How a plugin's source becomes a plugin, in both kinds of runner."""

from __future__ import annotations

import py_compile
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from plugins_app.fingerprint import fingerprint
from plugins_app.runners.base import PluginFaultError, PluginLoadError, RunnerState
from plugins_app.runners.redaction import without_settings
from plugins_app.spec import PluginSpec, Tier
from tests.plugins_app.stage import Stage, answer_to, hostile

TIERS = [Tier.USER, Tier.CORE]

PACKAGE = {
    "__init__.py": """
from dataclasses import replace
from plugins_app.base import BasePlugin
from .words import WORD
from .inner.deep import DEEP

class Packaged(BasePlugin):
    metadata = {}

    def execute(self, context):
        from . import late
        return replace(context, text=f"{WORD} {DEEP} {late.LATE}")
""",
    "words.py": "WORD = 'word'",
    "late.py": "LATE = 'late'",
    "inner/__init__.py": "",
    "inner/deep.py": "from ..words import WORD\nDEEP = WORD + 's'",
}


def package(stage: Stage, tmp_path: Path, tier: Tier) -> PluginSpec:
    folder = tmp_path / "packaged"
    for name, source in PACKAGE.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, encoding="utf-8")
    return replace(stage.spec(hostile(), tier=tier), path=folder, sha256=fingerprint(folder))


@pytest.mark.parametrize("tier", TIERS)
def test_a_package_imports_its_own_modules(stage: Stage, tmp_path: Path, tier: Tier) -> None:
    runner = stage.start_spec(package(stage, tmp_path, tier))
    assert answer_to(runner) == "word words late"


@pytest.mark.parametrize("tier", TIERS)
def test_what_runs_is_the_source_and_no_compiled_file_beside_it(
    stage: Stage, tmp_path: Path, tier: Tier
) -> None:
    """The digest that was approved says nothing of compiled files."""
    spec = package(stage, tmp_path, tier)
    source = spec.path / "words.py"
    forged = tmp_path / "forged.py"
    forged.write_text("WORD = 'evil'", encoding="utf-8")
    assert forged.stat().st_size == source.stat().st_size
    cached = Path(py_compile.compile(str(source), doraise=True) or "")
    py_compile.compile(
        str(forged),
        cfile=str(cached),
        dfile=str(source),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    assert answer_to(stage.start_spec(spec)) == "word words late"


@pytest.mark.parametrize("tier", TIERS)
def test_what_is_imported_later_is_what_was_approved(
    stage: Stage, tmp_path: Path, tier: Tier
) -> None:
    """Its digest was compared when it was loaded: nobody compares it at every import."""
    spec = package(stage, tmp_path, tier)
    runner = stage.start_spec(spec)
    (spec.path / "late.py").write_text("LATE = 'forged'")
    assert answer_to(runner) == "word words late"


def test_files_that_are_swapped_while_it_is_loaded_are_not_run(
    stage: Stage, tmp_path: Path
) -> None:
    """The package does by itself what somebody else could do at that moment."""
    spec = package(stage, tmp_path, Tier.CORE)
    forge = f"pathlib.Path({str(spec.path / 'words.py')!r}).write_text('WORD = 1')"
    swap = f"import pathlib\n{forge}"
    (spec.path / "__init__.py").write_text(f"{swap}\n{PACKAGE['__init__.py']}")
    runner = stage.start_spec(replace(spec, sha256=fingerprint(spec.path)))
    assert answer_to(runner) == "word words late"


def test_a_core_plugin_leaves_no_module_behind(stage: Stage, tmp_path: Path) -> None:
    spec = package(stage, tmp_path, Tier.CORE)
    runner = stage.start_spec(spec)
    name = f"llamagpu_plugin_{spec.slug}_"
    assert any(module.startswith(name) for module in sys.modules)
    runner.close()
    assert not any(module.startswith(name) for module in sys.modules)
    assert runner.report().state is RunnerState.CLOSED


def test_two_generations_of_a_core_plugin_stand_side_by_side(stage: Stage) -> None:
    one = stage.start(hostile("return replace(context, text='one')"), tier=Tier.CORE)
    two = stage.start_spec(
        replace(
            stage.spec(hostile("return replace(context, text='two')"), tier=Tier.CORE),
            slug=one.spec.slug,
        )
    )
    assert (answer_to(one), answer_to(two)) == ("one", "two")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (hostile(head="raise ValueError('bad day')"), "ValueError: bad day"),
        (hostile(head="sys.exit(3)"), "SystemExit"),
        (hostile(methods="def initialize(self):\n    return False"), "initialize"),
        ("x = 1", "defines 0 plugins"),
    ],
)
def test_a_core_plugin_that_cannot_be_loaded_says_why(
    stage: Stage, source: str, reason: str
) -> None:
    with pytest.raises(PluginLoadError, match=reason):
        stage.start(source, tier=Tier.CORE)


@pytest.mark.parametrize("tier", TIERS)
def test_a_plugin_that_is_gone_cannot_be_loaded(stage: Stage, tier: Tier) -> None:
    spec = stage.spec(hostile(), tier=tier)
    spec.path.rename(spec.path.with_suffix(".gone"))
    with pytest.raises(PluginLoadError, match="its source cannot be read"):
        stage.start_spec(spec)


@pytest.mark.parametrize("tier", TIERS)
def test_what_a_plugin_says_of_its_end_quotes_no_setting(stage: Stage, tier: Tier) -> None:
    """Whoever may read plugins reads it; settings may hold keys."""
    source = hostile(methods="def initialize(self):\n    raise ValueError(f'bad: {self.config}')")
    spec = stage.spec(source, tier=tier, config={"service": {"key": "sk-1234567890"}, "n": 3})
    with pytest.raises(PluginLoadError, match="bad: ") as caught:
        stage.start_spec(spec)
    assert "1234567890" not in str(caught.value)


@pytest.mark.parametrize("failing", ["initialize", "execute"])
def test_neither_the_log_nor_a_fault_holds_a_setting(
    stage: Stage, failing: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Their own exceptions quote them, and tracebacks and prints do."""
    raises = "print('key', self.config['key']); raise ValueError('bad ' + self.config['key'])"
    method = "def initialize(self)" if failing == "initialize" else "def execute(self, context)"
    source = hostile(methods=f"{method}:\n    {raises}")
    spec = stage.spec(source, config={"key": "sk-1234567890"})
    with (
        caplog.at_level("INFO"),
        pytest.raises((PluginLoadError, PluginFaultError), match=r"bad \[setting\]") as caught,
    ):
        answer_to(stage.start_spec(spec))
    stage.close(with_shared=False)
    assert "key [setting]" in caplog.text
    assert "1234567890" not in caplog.text + str(caught.value)


def test_a_setting_that_the_end_of_a_line_cuts_short_is_left_out() -> None:
    config = {"key": "sk-1234567890", "other": "sk-12"}
    assert without_settings("it is sk-1234567890!", config) == "it is [setting]!"
    assert without_settings("it is sk-1234567", config) == "it is [setting]"
    assert without_settings("it is sk-12", config) == "it is sk-12"
