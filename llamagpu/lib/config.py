"""The installation's own settings (`settings.LLAMA`), read once from the environment.

docs/settings.md explains each variable; a test keeps the two in step.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from llamagpu.lib.allow_list import AllowList
from llamagpu.lib.env import Env, EnvError
from llamagpu.lib.memory import MemoryLimit, total_bytes
from llamagpu.lib.retention import Retention
from llamagpu.lib.setting_fields import SETTING_FIELDS

BUILT_IN_MODEL = "smollm2-135m-instruct"
# sun_path of a unix socket holds 108 bytes on Linux, its closing NUL included.
_MAX_SOCKET_PATH = 100


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """Typed and validated; `from_env` raises EnvError naming the variable that is wrong."""

    backend: str
    model_path: Path
    plugin_paths: tuple[Path, ...]
    default_model: str
    log_level: str
    log_format: str
    host: str
    port: int
    web_cores: int
    public_url: str
    metrics_address: tuple[str, int] | None
    trusted_proxy: bool
    data_dir: Path
    trace_endpoint: str
    admin_username: str
    max_input_chars: int
    max_new_tokens: int
    max_queue: int
    max_batch_inputs: int
    max_file_bytes: int
    max_user_files: int
    max_user_file_bytes: int
    file_retention_days: int
    job_timeout: int
    resume_grace: int
    stream_interval: int
    job_retention: Retention
    job_history_days: int
    audited_job_reads: bool
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
    # What remote models may be called; fixed at the start, or who may name one could name any host.
    upstream_allow: AllowList
    # What webhooks may be called beside public addresses; fixed at the start for the same reason.
    webhook_allow: AllowList
    # What a caller may take where neither its user nor its role says otherwise; -1 is no limit.
    rate_inference: int
    rate_batch: int
    rate_plugins: int
    rate_system: int
    tokens_per_minute: int
    concurrent_jobs: int
    daily_tokens: int
    monthly_tokens: int
    max_sockets: int
    max_user_sockets: int
    max_key_sockets: int
    limits_without_redis: str
    plugin_walls: str
    metrics_interval: int
    history_second_hours: int
    history_minute_days: int
    history_quarter_days: int
    history_hour_days: int
    alert_history_days: int
    trace_sample_percent: int
    trace_content: bool
    audit_retention_days: int

    @classmethod
    def from_env(cls, env: Env, base_dir: Path) -> LlamaConfig:
        data_dir = env.path("LLAMA_DATA_DIR", base_dir / "var")
        model_path = env.path("LLAMA_MODEL_PATH", data_dir / "models")
        changeable = {field.name: field.read(env) for field in SETTING_FIELDS}
        changeable["default_model"] = changeable["default_model"] or default_model(model_path)
        return cls(
            **changeable,
            model_path=model_path,
            plugin_paths=env.paths("LLAMA_PLUGIN_PATH"),
            log_format=env.choice("LLAMA_LOG_FORMAT", "text", ("text", "json")),
            host=env.text("LLAMA_HOST", "127.0.0.1"),
            port=env.integer("LLAMA_PORT", 5000, low=1, high=65535),
            web_cores=env.integer("LLAMA_WEB_CORES", 0, low=0, high=4096),
            public_url=env.text("LLAMA_PUBLIC_URL").rstrip("/"),
            metrics_address=env.address("LLAMA_METRICS_BIND"),
            trace_endpoint=_trace_endpoint(env),
            trusted_proxy=env.boolean("LLAMA_TRUSTED_PROXY", False),
            data_dir=data_dir,
            admin_username=env.text("LLAMA_ADMIN_USERNAME", "admin"),
            redis_url=env.text("REDIS_URL") or f"unix://{redis_socket(data_dir)}",
            embedded_redis=not env.is_set("REDIS_URL"),
            upstream_allow=env.hosts("LLAMA_UPSTREAM_ALLOW"),
            webhook_allow=env.hosts("LLAMA_WEBHOOK_ALLOW"),
        )

    @property
    def max_memory_bytes(self) -> int | None:
        """Host memory that all engines of this machine may hold together; None where unknown."""
        return self.max_memory.resolve(total_bytes())

    @property
    def max_body_bytes(self) -> int:
        """Largest body of a request: the longest text, four bytes a character, JSON around it."""
        return max(1_048_576, self.max_input_chars * 4 + 65_536)

    @property
    def files_dir(self) -> Path:
        """What callers have uploaded, and the results of their batches."""
        return self.data_dir / "files"

    @property
    def plugins_dir(self) -> Path:
        """Plugins that Admins have uploaded."""
        return self.data_dir / "plugins" / "user"

    @property
    def benchmark_dir(self) -> Path:
        """Where reports of benchmarks are kept."""
        return self.data_dir / "benchmarks"

    @property
    def cache_dir(self) -> Path:
        """What can be made again: converted models, compiled kernels."""
        return self.data_dir / "cache"


def _trace_endpoint(env: Env) -> str:
    """Where spans are sent; empty: nowhere."""
    text = env.text("LLAMA_TRACE_ENDPOINT").rstrip("/")
    if text and not text.startswith(("http://", "https://")):
        raise EnvError("LLAMA_TRACE_ENDPOINT: must begin with http:// or https://")
    return text


def redis_socket(data_dir: Path) -> Path:
    """Where the embedded Valkey listens: in the data directory, else in a short private folder."""
    path = data_dir / "run" / "valkey.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"llamagpu-{os.getuid()}-{digest}" / "valkey.sock"


def default_model(model_path: Path) -> str:
    """The built-in model, unless `model_path` is itself one model's folder or GGUF file."""
    if model_path.suffix.lower() == ".gguf" and model_path.is_file():
        return model_path.stem.lower()
    return model_path.name.lower() if (model_path / "config.json").is_file() else BUILT_IN_MODEL
