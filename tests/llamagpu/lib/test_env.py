from __future__ import annotations

from pathlib import Path

import pytest

from llamagpu.lib.config import LlamaConfig, redis_socket
from llamagpu.lib.env import Env, EnvError
from llamagpu.lib.redis_urls import broker_url


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from a file\n")
    assert Env({"NAME_FILE": str(path)}).text("NAME") == "from a file"
    assert Env({"NAME_FILE": str(path), "NAME": "direct"}).text("NAME") == "direct"


def test_a_secret_file_that_is_missing_is_an_error() -> None:
    with pytest.raises(EnvError, match="NAME_FILE=/nowhere"):
        Env({"NAME_FILE": "/nowhere"}).text("NAME")


@pytest.mark.parametrize(
    ("text", "address"),
    [("", None), ("127.0.0.1:9464", ("127.0.0.1", 9464)), ("[::1]:80", ("::1", 80))],
)
def test_an_address_to_listen_on(text: str, address: tuple[str, int] | None) -> None:
    assert Env({"NAME": text}).address("NAME") == address


def test_a_secret_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvError, match="NAME is not set"):
        Env({}).secret("NAME", tmp_path / "file" / "secret")
    assert Env({"NAME": "given"}).secret("NAME", tmp_path / "file" / "secret") == "given"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLAMA_BACKEND", "tpu"),
        ("LLAMA_PORT", "0"),
        ("LLAMA_PORT", "http"),
        ("LLAMA_PORT", "65536"),
        ("LLAMA_METRICS_BIND", "9464"),
        ("LLAMA_METRICS_BIND", "127.0.0.1:0"),
        ("LLAMA_LOG_LEVEL", "loud"),
        ("LLAMA_TRUSTED_PROXY", "maybe"),
        ("LLAMA_JOB_TIMEOUT", "1501"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(EnvError, match=f"{name}="):
        LlamaConfig.from_env(Env({name: value}), tmp_path)


def test_the_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    config = LlamaConfig.from_env(Env({}), tmp_path)
    assert (config.host, config.port, config.backend) == ("127.0.0.1", 5000, "auto")
    assert config.data_dir == tmp_path / "var"
    assert config.model_path == tmp_path / "var" / "models"
    assert config.embedded_redis


def test_a_model_path_that_is_one_model_names_the_default(tmp_path: Path) -> None:
    folder = tmp_path / "My-Model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    config = LlamaConfig.from_env(Env({"LLAMA_MODEL_PATH": str(folder)}), tmp_path)
    assert config.default_model == "my-model"


def test_a_long_data_directory_gets_a_short_socket(tmp_path: Path) -> None:
    assert redis_socket(Path("/data")) == Path("/data/run/valkey.sock")
    long = tmp_path / ("x" * 120)
    assert len(str(redis_socket(long))) < 108
    assert redis_socket(long) != redis_socket(tmp_path / ("y" * 120))


@pytest.mark.parametrize(
    ("given", "spelt"),
    [
        ("unix:///run/v.sock", "redis+socket:///run/v.sock?virtual_host=0"),
        ("unix:///run/v.sock?db=3", "redis+socket:///run/v.sock?virtual_host=3"),
        ("redis://host:6379/1", "redis://host:6379/1"),
    ],
)
def test_the_broker_gets_its_own_spelling(given: str, spelt: str) -> None:
    assert broker_url(given) == spelt


def test_numbers_are_separated_by_commas_or_spaces() -> None:
    env = Env({"A": "0, 2 3", "B": "1,x", "C": "9"})
    assert env.integers("A", low=0, high=8) == (0, 2, 3)
    assert env.integers("Z", low=0, high=8) == ()
    with pytest.raises(EnvError, match="B='1,x': must be whole numbers"):
        env.integers("B", low=0, high=8)
    with pytest.raises(EnvError, match="C='9': must be between 0 and 8"):
        env.integers("C", low=0, high=8)
