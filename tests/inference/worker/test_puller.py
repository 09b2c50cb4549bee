"""A worker fetches what rows ask for, in a process of its own; its death or a change of mind ends it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from inference import presence, pull_progress
from inference.models import Model
from inference.presence import announce
from inference.services.model_pulls import cancel_pull, start_pull
from inference.services.registration import Registration, register_model, remove_model
from inference.worker.puller import Puller, pull_command
from monitoring.models import AuditLog
from tests.inference.engine.tiny_models import write_model
from tests.inference.pulling.hub_server import COMMIT, Hub, files_of, serve
from tests.inference.test_doctor import with_config
from tests.inference.test_model_control import worker
from tests.inference.worker.conftest import wait_until

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

Make = Callable[..., Puller]


@pytest.fixture(autouse=True)
def long_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not outlive a report."""
    monkeypatch.setattr(presence, "LIFETIME", 600)


@pytest.fixture
def root(tmp_path: Path, settings: Any, redis_client: Any) -> Path:
    root = tmp_path / "models"
    root.mkdir()
    with_config(settings, model_path=root, default_model="another")
    announce(redis_client, worker())
    return root


@pytest.fixture
def events() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def make_puller(redis_client: Any, events: list[Any], tmp_path: Path) -> Iterator[Make]:
    made: list[Puller] = []

    def make(program: str, holder: str = "one") -> Puller:
        script = tmp_path / f"program-{len(made)}.py"
        script.write_text("import json, sys, time, pathlib\nslug = sys.argv[1]\n" + program)
        puller = Puller(
            redis_client,
            "w",
            holder,
            command=lambda slug, source, commit: [sys.executable, str(script), slug, commit],
            publish=lambda stream, event_type, data: events.append((event_type, data)),
        )
        made.append(puller)
        return puller

    yield make
    for puller in made:
        puller.close(5)


def wanted() -> Model:
    model = register_model(actor=None, registration=Registration("hub:org/tiny", None, {}))
    return start_pull(actor=None, model=model)


def row() -> Model:
    return Model.objects.get(slug="tiny")


def bring(root: Path) -> str:
    """A program that reports and puts a model in place."""
    write_model(root.parent / "made")
    return f"""
print(json.dumps({{"commit": "abc123"}}), flush=True)
print(json.dumps({{"stage": "download", "fraction": 0.5, "bytes": 5, "total": 10}}), flush=True)
pathlib.Path({str(root.parent / "made")!r}).rename({str(root / "tiny")!r})
"""


HANG = """
print(json.dumps({"stage": "download", "fraction": 0.5, "bytes": 5, "total": 10}), flush=True)
time.sleep(600)
"""


def test_what_is_asked_for_is_brought_and_told(
    root: Path, make_puller: Make, events: list[tuple[str, dict[str, Any]]]
) -> None:
    wanted()
    make_puller(bring(root)).look()
    wait_until(lambda: row().state == "available", "it is here")
    assert row().num_parameters > 0
    assert row().source == "hub:org/tiny"
    told = [data for kind, data in events if kind == "model_pull_progress"]
    assert told[-1]["bytes"] == 5
    wait_until(lambda: "model_pulled" in [kind for kind, _ in events], "its end is published")
    actions = list(AuditLog.objects.order_by("id").values_list("action", "outcome"))
    assert actions == [
        ("model.registered", "done"),
        ("model.pull_started", "done"),
        ("model.pulled", "done"),
    ]


def test_the_commit_that_was_found_is_kept(root: Path, make_puller: Make) -> None:
    wanted()
    make_puller(f'print(json.dumps({{"commit": "{COMMIT}"}}), flush=True)\n{HANG}').look()
    wait_until(lambda: row().revision == COMMIT, "the commit is written")
    assert pull_command("tiny", row().source, row().revision)[-1] == COMMIT


def test_what_cannot_be_brought_is_told_without_folders(
    root: Path, make_puller: Make, events: list[tuple[str, dict[str, Any]]]
) -> None:
    wanted()
    error = json.dumps({"error": f"The disk of {root} is full."})
    make_puller(f"print({error!r}); sys.exit(1)").look()
    wait_until(lambda: row().state == "absent", "it is given up")
    assert row().pull_error == "The disk of the model root is full."
    assert AuditLog.objects.get(action="model.pulled").outcome == "failed"
    wait_until(lambda: events[-1][0] == "model_pull_failed", "it is published")


def test_a_program_that_breaks_is_no_open_book(root: Path, make_puller: Make) -> None:
    wanted()
    make_puller("raise RuntimeError('/secret/path')").look()
    wait_until(lambda: row().state == "absent", "it is given up")
    assert "ended with 1" in row().pull_error
    assert "secret" not in row().pull_error


def test_progress_is_there_while_it_runs(root: Path, make_puller: Make, redis_client: Any) -> None:
    wanted()
    make_puller(HANG).look()
    found = wait_until(
        lambda: (told := pull_progress.read(redis_client, "tiny")) and told.bytes and told, "bytes"
    )
    assert (found.stage, found.bytes, found.total, found.worker) == ("download", 5, 10, "w")


def test_a_change_of_mind_ends_the_program(root: Path, make_puller: Make) -> None:
    model = wanted()
    puller = make_puller(HANG)
    puller.look()
    wait_until(running, "it runs")
    cancel_pull(actor=None, model=model)
    puller.look()
    wait_until(lambda: not running(), "the program is gone")
    assert (row().state, row().pull_error) == ("absent", "")


def test_a_deleted_model_is_no_longer_fetched(root: Path, make_puller: Make) -> None:
    model = wanted()
    puller = make_puller(HANG)
    puller.look()
    wait_until(running, "it runs")
    remove_model(actor=None, model=model)
    puller.look()
    wait_until(lambda: not running(), "the program is gone")
    assert row().state == "removed"


def test_two_workers_fetch_it_once(root: Path, make_puller: Make, redis_client: Any) -> None:
    wanted()
    first, second = make_puller(HANG, "one"), make_puller(HANG, "two")
    first.look()
    second.look()
    # Its first word is told before there is a program.
    wait_until(lambda: (told := pull_progress.read(redis_client, "tiny")) and told.bytes, "it runs")
    first.look()
    second.look()
    assert len(running()) == 1


def test_the_next_worker_goes_on(root: Path, make_puller: Make, redis_client: Any) -> None:
    wanted()
    first = make_puller(HANG, "one")
    first.look()
    wait_until(running, "it runs")
    first.close(5)
    wait_until(lambda: not running(), "the program is gone")
    assert row().state == "downloading"
    make_puller(bring(root), "two").look()
    wait_until(lambda: row().state == "available", "it is here")


def test_the_real_program_fetches_from_a_hub(
    root: Path, redis_client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "source")
    files = files_of(tmp_path / "source")
    files.pop("manifest.json", None)
    hub = Hub(files)
    server = serve(hub)
    monkeypatch.setenv("LLAMA_HUB_ENDPOINT", hub.url)
    monkeypatch.setenv("LLAMA_MODEL_PATH", str(root))
    puller = Puller(redis_client, "w", "one")
    try:
        wanted()
        puller.look()
        wait_until(lambda: row().state != "downloading", "it has ended")
        assert (row().state, row().pull_error, row().revision) == ("available", "", COMMIT)
        assert len(row().sha256) == 64
    finally:
        puller.close(5)
        server.shutdown()
        server.server_close()


def running() -> list[psutil.Process]:
    """The programs that were started here."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if any("program-" in word for word in child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found
