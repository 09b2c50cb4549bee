"""One model over several ranks on the CPU: real processes, the same text as one."""

from __future__ import annotations

import io
import json
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from inference.engine.config import EngineConfig
from inference.engine.errors import DeviceLost, LoadError
from inference.engine.parallel.commands import Command, read_command, write_command
from inference.engine.parallel.peers import Peers
from inference.engine.parallel.sharding import check_shards
from inference.model_files import read_model_files
from inference.protocol import Exit, Finished, Loaded, Prompt, SamplingParams, Submit
from tests.environment import MODEL_ROOT
from tests.inference.engine.harness import running_engine
from tests.inference.engine.test_process import TIMEOUT, Child
from tests.inference.engine.tiny_models import write_model

DEFAULT_MODEL = MODEL_ROOT / "smollm2-135m-instruct"
PROMPT = tuple((7 * index * index) % 256 for index in range(90))


@pytest.fixture
def children() -> Iterator[list[Child]]:
    """Engine processes that are gone after the test."""
    started: list[Child] = []
    yield started
    for child in started:
        child.process.kill()
        child.process.communicate()
        child.channel.close()


def load(children: list[Child], path: Path, ranks: int) -> tuple[Child, Any]:
    child = Child()
    children.append(child)
    # Two processes import torch one after the other, on machines that others use as well.
    child.channel.settimeout(2 * TIMEOUT)
    event = child.load(
        path, tensor_parallel=ranks, num_slots=4, max_model_len=512, optimization_level=0
    )
    return child, event


def greedy_text(child: Child) -> str:
    params = SamplingParams(max_tokens=30, temperature=0.0, ignore_eos=True)
    child.send(Submit("a", Prompt(token_ids=PROMPT), params, TIMEOUT))
    finished = child.wait_for(Finished)
    return str(finished.text)


def ranks_of(child: Child) -> list[int]:
    """The processes of the other ranks."""
    tasks = Path(f"/proc/{child.process.pid}/task")
    return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


@pytest.mark.parametrize("family", ["llama", "qwen2", "phi3"])
def test_two_ranks_say_what_one_says(family: str, tmp_path: Path, children: list[Child]) -> None:
    path = write_model(tmp_path, family)
    with running_engine(path, optimization_level=0) as engine:
        alone = engine.ask(list(PROMPT), max_tokens=30).text
    child, event = load(children, path, 2)
    assert isinstance(event, Loaded), event
    assert len(ranks_of(child)) == 1
    assert greedy_text(child) == alone
    child.send(Exit())
    assert child.process.wait(TIMEOUT) == 0
    assert len(set(alone)) > 3


def test_three_ranks_of_the_default_model_say_what_one_says(children: list[Child]) -> None:
    with running_engine(DEFAULT_MODEL, optimization_level=0, max_model_len=512) as engine:
        alone = engine.ask(list(PROMPT), max_tokens=30).text
    child, event = load(children, DEFAULT_MODEL, 3)
    assert isinstance(event, Loaded), event
    assert greedy_text(child) == alone


def test_vectors_and_scores_of_two_ranks_are_those_of_one(
    tiny_model: Path, children: list[Child]
) -> None:
    inputs = Prompt(inputs=(Prompt(token_ids=PROMPT), Prompt(token_ids=PROMPT[:3])))
    with running_engine(tiny_model, optimization_level=0) as engine:
        vectors = [
            torch.frombuffer(bytearray(v), dtype=torch.float32)
            for v in engine.ask(inputs).embeddings
        ]
        scores = engine.ask(list(PROMPT), max_tokens=0, prompt_logprobs=0).prompt_logprobs
    child, event = load(children, tiny_model, 2)
    assert isinstance(event, Loaded), event
    child.send(Submit("a", inputs, SamplingParams(max_tokens=0), TIMEOUT))
    for ours, expected in zip(child.wait_for(Finished).embeddings, vectors, strict=True):
        found = torch.frombuffer(bytearray(ours), dtype=torch.float32)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    params = SamplingParams(max_tokens=0, prompt_logprobs=0)
    child.send(Submit("b", Prompt(token_ids=PROMPT), params, TIMEOUT))
    found_scores = child.wait_for(Finished).prompt_logprobs
    assert [s and s.logprob for s in found_scores] == pytest.approx(
        [s and s.logprob for s in scores or ()], abs=1e-4
    )


def test_heads_that_do_not_divide_are_refused_with_what_would_do() -> None:
    reason = "9 heads over 3 kv heads cannot be split over 2 ranks; tensor_parallel may be 1, 3"
    with pytest.raises(LoadError, match=reason):
        check(DEFAULT_MODEL, 2)
    check(DEFAULT_MODEL, 3)


def test_a_family_without_a_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no plan to split gpt2 models"):
        check(write_model(tmp_path, "gpt2"), 2)


def test_a_plan_that_gathers_heads_takes_any_number(tmp_path: Path) -> None:
    check(write_model(tmp_path, "phi3"), 3)


def check(path: Path, size: int) -> None:
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    check_shards(read_model_files(path), config, size, torch.device("cpu"))


def test_the_death_of_a_rank_ends_the_engine(tiny_model: Path, children: list[Child]) -> None:
    child, event = load(children, tiny_model, 2)
    assert isinstance(event, Loaded), event
    os.kill(ranks_of(child)[0], signal.SIGKILL)
    assert child.process.wait(TIMEOUT) == 4


def test_the_death_of_the_engine_ends_its_ranks(tiny_model: Path, children: list[Child]) -> None:
    child, event = load(children, tiny_model, 2)
    assert isinstance(event, Loaded), event
    rank = ranks_of(child)[0]
    arguments = Path(f"/proc/{rank}/cmdline").read_bytes().split(b"\0")
    folder = Path(json.loads(arguments[3])["meeting_point"]).parent
    assert folder.is_dir()
    watched = os.pidfd_open(rank)
    child.process.kill()
    with os.fdopen(watched):
        assert wait_for_end(watched)
    assert not folder.exists()


def wait_for_end(descriptor: int) -> bool:
    """Whether the process behind a pidfd ends in time."""
    ready, _, _ = select.select([descriptor], [], [], TIMEOUT)
    return bool(ready)


def test_a_command_arrives_as_it_was_sent() -> None:
    pipe = io.BytesIO()
    write_command(pipe, Command.STEP, [1, -5, 2**40])
    write_command(pipe, Command.ZERO, [])
    pipe.seek(0)
    assert read_command(pipe) == (Command.STEP, [1, -5, 2**40])
    assert read_command(pipe) == (Command.ZERO, [])
    assert read_command(pipe) is None


def test_half_a_command_is_the_end() -> None:
    pipe = io.BytesIO()
    write_command(pipe, Command.STEP, [1, 2])
    assert read_command(io.BytesIO(pipe.getvalue()[:-3])) is None


def test_telling_a_rank_that_is_gone_is_a_lost_device(capfd: pytest.CaptureFixture[str]) -> None:
    deaths: list[str] = []
    peers = Peers(deaths.append)
    # No such model: the rank ends as soon as it looks.
    spec = {"path": "/no/such/model", "rank": 1, "meeting_point": str(peers.meeting_point)}
    peers.start([spec])
    watched = os.pidfd_open(peers.pids[0])
    with os.fdopen(watched):
        assert wait_for_end(watched)
    with pytest.raises(DeviceLost, match="a rank of the engine is gone"):
        peers.tell(Command.STEP, [1])
    peers.stop()
    assert not peers.meeting_point.parent.exists()
    assert "this rank failed" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({"tensor_parallel": 0}, "tensor_parallel is 0"),
        ({"tensor_parallel": 2, "devices": (0,)}, "devices has 1 numbers for tensor_parallel 2"),
        ({"devices": (0, 0)}, "one device twice"),
        ({"devices": (-1,)}, "devices is -1"),
    ],
)
def test_settings_that_name_no_ranks_are_refused(chosen: dict[str, Any], reason: str) -> None:
    with pytest.raises(LoadError, match=reason):
        EngineConfig(**chosen)
