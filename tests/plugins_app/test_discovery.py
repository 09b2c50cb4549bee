"""Where plugins are found, and that what is broken is listed instead of being fatal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from plugins_app.discovery import Candidate, find_candidates
from plugins_app.entry_points import entry_point_files
from plugins_app.spec import Tier


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for tier in ("core", "community", "user"):
        (tmp_path / "root" / tier).mkdir(parents=True)
    return tmp_path / "root"


def found_in(*folders: Path) -> dict[str, Candidate]:
    """What was found besides what comes with the portal."""
    candidates = find_candidates(folders, folders[0].parent / "uploads")
    return {
        candidate.slug: candidate
        for candidate in candidates
        if any(candidate.path.is_relative_to(folder.parent) for folder in folders)
    }


def test_files_and_packages_of_each_tier_are_found(root: Path) -> None:
    (root / "community" / "single.py").write_text("")
    (root / "user" / "package").mkdir()
    (root / "user" / "package" / "__init__.py").write_text("")
    (root.parent / "uploads" / "uploaded").mkdir(parents=True)
    (root.parent / "uploads" / "uploaded" / "__init__.py").write_text("")
    found = found_in(root)
    assert {slug: (item.tier, item.problem) for slug, item in found.items()} == {
        "single": (Tier.COMMUNITY, ""),
        "package": (Tier.USER, ""),
        "uploaded": (Tier.USER, ""),
    }


def test_what_is_no_plugin_is_passed_over(root: Path) -> None:
    (root / "user" / "README.md").write_text("")
    (root / "user" / "__init__.py").write_text("")
    (root / "user" / "_draft.py").write_text("")
    (root / "user" / "__pycache__").mkdir()
    (root / "user" / "data").mkdir()
    assert found_in(root) == {}


def test_core_plugins_come_with_the_portal_alone(root: Path) -> None:
    (root / "core" / "trusted.py").write_text("")
    (item,) = found_in(root).values()
    assert "come with the portal" in item.problem
    assert item.slug.startswith("trusted.")


def test_the_second_of_two_with_one_name_is_listed_with_the_reason(root: Path) -> None:
    (root / "community" / "same.py").write_text("")
    (root / "user" / "same.py").write_text("")
    found = found_in(root)
    assert found["same"].tier is Tier.COMMUNITY
    (other,) = [item for slug, item in found.items() if slug != "same"]
    assert str(root / "community" / "same.py") in other.problem
    assert found_in(root).keys() == found.keys()


@pytest.mark.parametrize("name", ["Loud.py", "two words.py", "x" * 64 + ".py", "scan.py", "ü.py"])
def test_a_name_that_no_address_can_hold_is_listed(root: Path, name: str) -> None:
    (root / "user" / name).write_text("")
    (item,) = found_in(root).values()
    assert "name" in item.problem


def test_a_name_that_is_no_text_is_listed(root: Path) -> None:
    bad = bytes(root / "user") + b"/\xff.py"
    Path(bad.decode("utf-8", "surrogateescape")).write_text("")
    (item,) = found_in(root).values()
    assert item.problem == "its path is not UTF-8"
    assert item.slug.isascii()


def test_links_out_of_the_folder_are_listed_and_those_inside_followed(root: Path) -> None:
    elsewhere = root.parent / "elsewhere.py"
    elsewhere.write_text("")
    (root / "user" / "out.py").symlink_to(elsewhere)
    (root / "user" / "nowhere.py").symlink_to(root / "missing")
    (root / "user" / "real.py").write_text("")
    (root / "user" / "inside.py").symlink_to(root / "user" / "real.py")
    (root / "user" / "loop.py").symlink_to(root / "user" / "loop.py")
    problems = {item.path.name: item.problem for item in found_in(root).values()}
    assert problems == {
        "out.py": "is a link that leads out of its folder",
        "nowhere.py": "is a link that leads nowhere",
        "loop.py": "is a link that leads nowhere",
        "real.py": "",
        "inside.py": "",
    }


def test_folders_are_looked_through_in_their_order(root: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    (second / "user").mkdir(parents=True)
    (root / "user" / "same.py").write_text("")
    (second / "user" / "same.py").write_text("")
    assert found_in(second, root)["same"].path == second / "user" / "same.py"


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert found_in(tmp_path / "missing") == {}


def distribution(folder: Path, entry_points: str) -> None:
    info = folder / "loud_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[llamagpu.plugins]\n{entry_points}")


def test_entry_points_are_located_and_not_imported(tmp_path: Path, monkeypatch: Any) -> None:
    package = tmp_path / "loud_package"
    (package / "inner").mkdir(parents=True)
    boom = "raise RuntimeError('imported')"
    for file in (package / "__init__.py", package / "part.py", package / "inner" / "__init__.py"):
        file.write_text(boom)
    (tmp_path / "loud_single.py").write_text(boom)
    distribution(
        tmp_path,
        "a_part = loud_package.part:Plugin\nb_inner = loud_package.inner\nc_single = loud_single\n"
        "d_gone = loud_package.gone\ne_missing = no_such_package.part\n",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(entry_point_files()) == [
        ("a_part", package / "part.py", ""),
        ("b_inner", package / "inner", ""),
        ("c_single", tmp_path / "loud_single.py", ""),
        ("d_gone", None, "its module loud_package.gone is not there"),
        ("e_missing", None, "its module no_such_package.part is not there"),
    ]
    assert not {name for name in sys.modules if name.startswith("loud_")}
    found = found_in(tmp_path / "nothing")
    assert found["a_part"].tier is Tier.COMMUNITY
