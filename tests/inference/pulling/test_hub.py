"""A repository of a hub comes whole, pinned and checked, or the reason is told and the rest is kept."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.model_store import list_models, read_manifest
from inference.pulling import hub as module
from inference.pulling import hub_transfer
from inference.pulling.errors import PullError
from inference.pulling.hub import HubPull, pull_repository
from inference.pulling.hub_listing import HubAccess, HubFile, choose
from inference.pulling.sources import HubSource, find_source
from tests.inference.engine.tiny_ggufs import write_gguf
from tests.inference.engine.tiny_models import write_model
from tests.inference.pulling.conftest import RecordedProgress
from tests.inference.pulling.hub_server import COMMIT, Hub, files_of, serve

SOURCE = HubSource("org/tiny")


@pytest.fixture(scope="module")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("tiny")
    write_model(folder)
    files = {name: data for name, data in files_of(folder).items() if name != "manifest.json"}
    return {**files, "README.md": b"read me", "modeling.py": b"import os", "a.bin": b"pickle"}


@pytest.fixture
def hub(tiny_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(hub_transfer, "_FIRST_PAUSE", 0.01)
    monkeypatch.setenv("NO_PROXY", "*")
    made = Hub(dict(tiny_files))
    server = serve(made)
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(
    hub: Hub, tmp_path: Path, progress: RecordedProgress
) -> Callable[..., tuple[bool, list[str]]]:
    def fetch(source: HubSource = SOURCE, name: str = "tiny", token: str = "", commit: str = ""):
        commits: list[str] = []
        pull = HubPull(source, name, tmp_path / "models", commit)
        is_new = pull_repository(pull, HubAccess(hub.url, token), progress, commits.append)
        return is_new, commits

    return fetch


def refused(words: str) -> Any:
    return pytest.raises(PullError, match=words)


def test_a_repository_comes_pinned_with_its_digests(
    fetch: Any, hub: Hub, tmp_path: Path, progress: RecordedProgress
) -> None:
    assert fetch() == (True, [COMMIT])
    (model,) = list_models(tmp_path / "models")
    assert (model.slug, model.revision) == ("tiny", COMMIT)
    weights = hashlib.sha256(hub.files["model.safetensors"]).hexdigest()
    manifest = read_manifest(model.path)
    assert (manifest["source"], manifest["weights_sha256"]) == ("hub:org/tiny@main", weights)
    assert progress.stages == ["resolve", "download", "verify"]
    assert not list((tmp_path / "models").glob(".pull-*"))


def test_neither_code_nor_pickles_nor_texts_are_fetched(fetch: Any, hub: Hub) -> None:
    fetch()
    fetched = {name for name, _ in hub.asked}
    assert fetched.isdisjoint({"README.md", "modeling.py", "a.bin"})
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= fetched


def test_what_is_there_is_not_fetched_again(fetch: Any, hub: Hub) -> None:
    fetch()
    hub.asked.clear()
    assert fetch() == (False, [])
    assert fetch(commit=COMMIT) == (False, [])
    assert hub.asked == []


def test_a_connection_that_is_cut_goes_on_where_it_was(fetch: Any, hub: Hub) -> None:
    hub.cut_after = 5000
    assert fetch() == (True, [COMMIT])
    assert hub.ranges == ["bytes=5000-"]


def test_a_pull_that_failed_goes_on_where_it_was(
    fetch: Any, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.cut_after = 5000
    monkeypatch.setattr(hub_transfer, "MAX_ATTEMPTS", 1)
    with refused("pull again to go on"):
        fetch()
    (part,) = (tmp_path / "models").glob(".pull-tiny-*/model/model.safetensors.part")
    assert part.stat().st_size == 5000
    assert fetch() == (True, [COMMIT])
    assert hub.ranges == ["bytes=5000-"]


def test_a_server_without_ranges_sends_all_again(fetch: Any, hub: Hub) -> None:
    hub.cut_after, hub.ignores_ranges = 5000, True
    assert fetch() == (True, [COMMIT])


def test_a_server_that_is_busy_is_asked_again(fetch: Any, hub: Hub) -> None:
    hub.status, hub.status_times = 503, 3
    assert fetch() == (True, [COMMIT])


def test_a_server_that_stays_away_is_told(fetch: Any, hub: Hub) -> None:
    hub.status, hub.status_times = 503, 99
    with refused("answered with 503"):
        fetch()


def test_other_content_than_listed_is_not_kept(fetch: Any, hub: Hub, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        hub.wrong_content = name
        with refused(f"{name} is not the file that the hub has listed"):
            fetch()
    assert list_models(tmp_path / "models") == []


def test_the_token_opens_and_goes_to_the_hub_alone(fetch: Any, hub: Hub) -> None:
    hub.token = "secret"
    with refused("asks for consent.*LLAMA_HUB_TOKEN"):
        fetch()
    assert fetch(token="secret") == (True, [COMMIT])
    assert hub.leaked == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (HubSource("org/other"), "has no model org/other"),
        (HubSource("org/tiny", "v9"), "no revision 'v9'"),
        (HubSource("org/tiny", "main", "x.gguf"), "has no file x.gguf"),
    ],
)
def test_a_name_that_is_wrong_is_told_as_such(fetch: Any, source: HubSource, words: str) -> None:
    with refused(words):
        fetch(source)


def test_a_hub_that_is_not_there_is_told(tmp_path: Path, progress: RecordedProgress) -> None:
    pull = HubPull(SOURCE, "tiny", tmp_path)
    with refused("cannot be reached"):
        pull_repository(pull, HubAccess("http://127.0.0.1:9"), progress, lambda commit: None)


def test_a_gguf_file_is_chosen_by_name(fetch: Any, hub: Hub, tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny-q8.gguf")
    hub.files.clear()
    hub.files["tiny-q8.gguf"] = (tmp_path / "tiny-q8.gguf").read_bytes()
    hub.files["tiny-q4.gguf"] = b"x" * 2000
    with refused(r"several GGUF files.*tiny-q4.gguf"):
        fetch()
    assert fetch(HubSource("org/tiny", "v1", "tiny-q8.gguf"), "tiny-q8") == (True, [COMMIT])
    assert [model.slug for model in list_models(tmp_path / "models")] == ["tiny-q8"]


def test_a_repository_of_pickles_is_refused() -> None:
    with refused("pickle files"):
        choose([HubFile("config.json", 10), HubFile("pytorch_model.bin", 10)], SOURCE)


def test_what_cannot_be_served_is_not_put_among_the_models(
    fetch: Any, hub: Hub, tmp_path: Path
) -> None:
    hub.files["config.json"] = b"{}"
    with refused("cannot be served"):
        fetch()
    assert list_models(tmp_path / "models") == []


def test_a_full_disk_is_told_before_with_both_figures(
    fetch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=100_000_000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    with refused(r"takes 5\d\d MB.*only 100 MB"):
        fetch()


def test_a_disk_that_becomes_full_is_told_and_what_is_here_stays(
    fetch: Any, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def __init__(self, digest: Any) -> None:
            self._digest = digest

        def __getattr__(self, name: str) -> Any:
            return getattr(self._digest, name)

        def add(self, block: bytes) -> None:
            raise OSError(28, "No space left on device")

    real = hub_transfer._Digests
    monkeypatch.setattr(hub_transfer, "_Digests", lambda file: Full(real(file)))
    with refused("disk .* is full"):
        fetch()
    monkeypatch.undo()
    assert fetch() == (True, [COMMIT])


def test_a_folder_of_somebody_else_is_left_alone(fetch: Any, tmp_path: Path) -> None:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    with refused("was not made by a pull"):
        fetch()


def test_a_name_that_holds_another_model_is_refused(fetch: Any, tmp_path: Path) -> None:
    fetch()
    manifest = tmp_path / "models" / "tiny" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"source": "hub:a/b@main"}))
    with refused("holds another model"):
        fetch()


@pytest.mark.parametrize(
    "spelling",
    [
        "hub:", "hub:tiny", "hub:a/b/c", "hub:../b", "hub:a/..", "hub:a/b@", "hub:a/b@../x",
        "hub:a/b@x/../y", "hub:a/b:c", "hub:a/b:../c.gguf", "hub:a/b\n", "hub:a b/c", "hub:.a/b",
        "hub:http://x/y",
    ],
)  # fmt: skip
def test_spellings_that_lead_elsewhere_are_refused(spelling: str) -> None:
    with pytest.raises(PullError):
        find_source(spelling)


def test_spellings() -> None:
    assert find_source("hub:Org/Name") == HubSource("Org/Name", "main")
    assert find_source("hub:Org/Name@refs/pr/1:a.gguf") == HubSource(
        "Org/Name", "refs/pr/1", "a.gguf"
    )
    assert HubSource("Org/Name-1").slug == "name-1"
