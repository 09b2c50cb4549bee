"""The documents say what the code does."""

from __future__ import annotations

import re
import tomllib

import pytest

from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.setting_fields import SETTING_FIELDS, Applies
from llamagpu.lib.version import VERSION
from tests.architecture.test_files import PACKAGES, ROOT, tracked

SETTING = re.compile(r'"((?:LLAMA|DJANGO)_[A-Z_]+|DATABASE_URL|REDIS_URL)"')


def settings_in_the_code() -> set[str]:
    files = (
        ROOT / "llamagpu" / "settings.py",
        ROOT / "llamagpu" / "lib" / "config.py",
        ROOT / "llamagpu" / "lib" / "setting_fields.py",
        ROOT / "llamagpu" / "lib" / "sign_in_config.py",
    )
    names = {name for path in files for name in SETTING.findall(path.read_text())}
    return names - {"DJANGO_SETTINGS_MODULE"}


def test_every_setting_is_documented_and_no_other_one() -> None:
    documented = set(
        re.findall(r"`((?:LLAMA|DJANGO)_[A-Z_]+|DATABASE_URL|REDIS_URL)`", read("docs/settings.md"))
    )
    assert {name for name in documented if not name.endswith("_FILE")} == settings_in_the_code()


def test_the_settings_page_says_what_waits_for_a_restart() -> None:
    _, _, after = read("docs/settings.md").partition("from the worker's next start on:")
    named = re.findall(r"`(LLAMA_[A-Z_]+)`", after.partition("\n\n")[0])
    waiting = [field.variable for field in SETTING_FIELDS if field.applies is Applies.RESTART]
    assert sorted(named) == sorted(waiting)


@pytest.mark.parametrize("document", ["README.md", "docs/architecture.md"])
def test_every_path_that_a_document_names_is_there(document: str) -> None:
    named = re.findall(r"`((?:\w+/)+[\w.]*)`", read(document))
    ours = {
        name
        for name in named
        if name.split("/")[0] in (*PACKAGES, "tests", "docs", "templates", "static")
    }
    assert ours
    assert [name for name in sorted(ours) if not (ROOT / name).exists()] == []


def test_every_stage_is_in_the_architecture() -> None:
    text = read("docs/architecture.md")
    for number in range(1, 8):
        assert re.search(rf"^\| {number} \|", text, re.MULTILINE), number


def test_every_error_stands_beside_its_status() -> None:
    rows = re.findall(
        r"^\| ((?:\d{3}(?:, )?)+) \| (`[A-Z_]+`.*) \|$", read("docs/api.md"), re.MULTILINE
    )
    documented = {
        code: status for status, codes in rows for code in re.findall(r"`([A-Z_]+)`", codes)
    }
    assert set(documented) == {code.value for code in ErrorCode}
    wrong = [code for code in ErrorCode if str(code.http_status) not in documented[code.value]]
    assert wrong == []


def test_one_version_everywhere() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert project["version"] == VERSION
    assert "## Unreleased" in read("CHANGELOG.md")


def test_no_document_names_a_registry_host() -> None:
    hosts = ("pypi" + ".org", "npmjs" + ".org", "npmjs" + ".com", "debian" + ".org")
    for path in tracked():
        if path.suffix in {".md", ".txt", ".toml", ".json", ".py", ".yaml", ".yml", ".js", ""}:
            text = path.read_text(errors="ignore")
            assert not [host for host in hosts if host in text], path


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")
