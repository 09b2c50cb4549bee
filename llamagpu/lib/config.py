"""The installation's own settings (`settings.LLAMA`), read once from the environment.

docs/settings.md explains each variable; a test keeps the two in step.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from llamagpu.lib.env import Env
from llamagpu.lib.memory import MemoryLimit, total_bytes

BUILT_IN_MODEL = "smollm2-135m-instruct"
# sun_path of a unix socket holds 108 bytes on Linux, its closing NUL included.
_MAX_SOCKET_PATH = 100
_DTYPES = ("auto", "float32", "bfloat16", "float16")

_LEVELS = ("auto", "0", "1", "2", "3")


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """Typed and validated; `from_env` raises EnvError naming the variable that is wrong."""

    backend: str
    model_path: Path
    default_model: str
    log_level: str
    log_format: str
    host: str
    port: int
    public_url: str
    trusted_proxy: bool
    data_dir: Path
    admin_username: str
    max_input_chars: int
    max_new_tokens: int
    max_queue: int
    job_timeout: int
    num_slots: int
    max_model_len: int
    max_memory: MemoryLimit
    dtype: str
    tensor_parallel: int
    devices: tuple[int, ...]
    optimization_level: int | None
    worker_concurrency: int
    keep_alive: int
    redis_url: str
    embedded_redis: bool
    # What a caller may take where neither its user nor its role says otherwise; -1 is no limit.
    rate_inference: int
    rate_batch: int
    rate_plugins: int
    rate_system: int
    tokens_per_minute: int
    concurrent_jobs: int
    daily_tokens: int
    monthly_tokens: int
    limits_without_redis: str
    audit_retention_days: int

    @classmethod
    def from_env(cls, env: Env, base_dir: Path) -> LlamaConfig:
        data_dir = env.path("LLAMA_DATA_DIR", base_dir / "var")
        model_path = env.path("LLAMA_MODEL_PATH", data_dir / "models")
        return cls(
            backend=env.choice("LLAMA_BACKEND", "auto", ("auto", "cuda", "rocm", "cpu")),
            model_path=model_path,
            default_model=env.text("LLAMA_DEFAULT_MODEL") or _only_model(model_path),
            log_level=env.choice(
                "LLAMA_LOG_LEVEL", "info", ("debug", "info", "warning", "error", "critical")
            ).upper(),
            log_format=env.choice("LLAMA_LOG_FORMAT", "text", ("text", "json")),
            host=env.text("LLAMA_HOST", "127.0.0.1"),
            port=env.integer("LLAMA_PORT", 5000, low=1, high=65535),
            public_url=env.text("LLAMA_PUBLIC_URL").rstrip("/"),
            trusted_proxy=env.boolean("LLAMA_TRUSTED_PROXY", False),
            data_dir=data_dir,
            admin_username=env.text("LLAMA_ADMIN_USERNAME", "admin"),
            max_input_chars=env.integer("LLAMA_MAX_INPUT_CHARS", 200_000, low=1, high=10_000_000),
            max_new_tokens=env.integer("LLAMA_MAX_NEW_TOKENS", 8192, low=1, high=1_000_000),
            max_queue=env.integer("LLAMA_MAX_QUEUE", 256, low=1, high=100_000),
            job_timeout=env.integer("LLAMA_JOB_TIMEOUT", 300, low=1, high=1500),
            num_slots=env.integer("LLAMA_NUM_SLOTS", 32, low=1, high=1024),
            max_model_len=env.integer("LLAMA_MAX_MODEL_LEN", 0, low=0, high=10_000_000),
            max_memory=env.memory("LLAMA_MAX_MEMORY", "80%"),
            dtype=env.choice("LLAMA_DTYPE", "auto", _DTYPES),
            tensor_parallel=env.integer("LLAMA_TENSOR_PARALLEL", 1, low=1, high=64),
            devices=env.integers("LLAMA_DEVICES", low=0, high=1023),
            optimization_level=_level(env.choice("LLAMA_OPTIMIZATION_LEVEL", "auto", _LEVELS)),
            worker_concurrency=env.integer("LLAMA_WORKER_CONCURRENCY", 64, low=1, high=1024),
            keep_alive=env.integer("LLAMA_KEEP_ALIVE", 300, low=-1, high=2**31 - 1),
            redis_url=env.text("REDIS_URL") or f"unix://{redis_socket(data_dir)}",
            embedded_redis=not env.is_set("REDIS_URL"),
            rate_inference=_limit(env, "LLAMA_RATE_INFERENCE", 100),
            rate_batch=_limit(env, "LLAMA_RATE_BATCH", 10),
            rate_plugins=_limit(env, "LLAMA_RATE_PLUGINS", 30),
            rate_system=_limit(env, "LLAMA_RATE_SYSTEM", 300),
            tokens_per_minute=_limit(env, "LLAMA_TOKENS_PER_MINUTE", -1),
            concurrent_jobs=_limit(env, "LLAMA_CONCURRENT_JOBS", -1),
            daily_tokens=_limit(env, "LLAMA_DAILY_TOKENS", -1),
            monthly_tokens=_limit(env, "LLAMA_MONTHLY_TOKENS", -1),
            limits_without_redis=env.choice(
                "LLAMA_LIMITS_WITHOUT_REDIS", "open", ("open", "closed")
            ),
            audit_retention_days=env.integer("LLAMA_AUDIT_RETENTION_DAYS", 0, low=0, high=36_500),
        )

    @property
    def max_memory_bytes(self) -> int | None:
        """Host memory that all engines of this machine may hold together; None where unknown."""
        return self.max_memory.resolve(total_bytes())

    @property
    def cache_dir(self) -> Path:
        """What can be made again: converted models, compiled kernels."""
        return self.data_dir / "cache"


def redis_socket(data_dir: Path) -> Path:
    """Where the embedded Valkey listens: in the data directory, else in a short private folder."""
    path = data_dir / "run" / "valkey.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"llamagpu-{os.getuid()}-{digest}" / "valkey.sock"


def _limit(env: Env, name: str, default: int) -> int:
    return env.integer(name, default, low=-1, high=10**15)


def _level(choice: str) -> int | None:
    return None if choice == "auto" else int(choice)


def _only_model(model_path: Path) -> str:
    """The model meant by a `LLAMA_MODEL_PATH` that is itself one model's folder or GGUF file."""
    if model_path.suffix.lower() == ".gguf" and model_path.is_file():
        return model_path.stem.lower()
    return model_path.name.lower() if (model_path / "config.json").is_file() else BUILT_IN_MODEL
