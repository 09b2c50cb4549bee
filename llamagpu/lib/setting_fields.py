"""Every setting that an Admin may change while the portal runs, declared once.

`LlamaConfig.from_env` reads them, `/api/system/config` lists and changes them, docs/settings.md
explains them. What is fixed at the start (addresses, folders, secrets) stands in `config.py` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from llamagpu.lib.env import Env
from llamagpu.lib.setting_kinds import Choice, Keeping, Kind, Memory, Name, Numbers, Whole


class Applies(StrEnum):
    """When a changed value holds: within two seconds, or from the worker's next start on."""

    LIVE = "live"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class SettingField:
    """`name` is the field of LlamaConfig, `variable` the one that wins over the database."""

    name: str
    variable: str
    kind: Kind
    applies: Applies
    group: str
    description: str

    def read(self, env: Env) -> Any:
        return self.kind.read(env, self.variable)

    def parse(self, value: Any) -> Any:
        """A JSON value, checked by the same rule. Raises EnvError that begins with the name."""
        return self.kind.parse(self.name, value)


LIVE, RESTART = Applies.LIVE, Applies.RESTART
MODELS, REQUESTS, LIMITS, LOGS = "Models", "Requests", "Limits for everybody", "Logs and audit"
PLUGINS = "Plugins"
METRICS = "Metrics and history"

_BACKENDS = ("auto", "cuda", "rocm", "cpu")
_LEVELS = ("auto", "0", "1", "2", "3")
_DTYPES = ("auto", "float32", "bfloat16", "float16")
_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


def _limit(default: int) -> Whole:
    return Whole(default, -1, 10**15)


def _level(word: str) -> int | None:
    return None if word == "auto" else int(word)


def _level_word(level: int | None) -> str:
    return "auto" if level is None else str(level)


def _is_on(word: str) -> bool:
    return word == "on"


def _on_word(is_on: bool) -> str:
    return "on" if is_on else "off"


_OPTIMIZATION = Choice("auto", _LEVELS, _level, _level_word)
_SWITCH = Choice("off", ("off", "on"), _is_on, _on_word)
_LOG_LEVEL = Choice("info", _LOG_LEVELS, str.upper, str.lower)

# fmt: off
SETTING_FIELDS: tuple[SettingField, ...] = (
    SettingField("default_model", "LLAMA_DEFAULT_MODEL", Name(), LIVE, MODELS,
                 "used where a request names no model; loaded at start"),
    SettingField("backend", "LLAMA_BACKEND", Choice("auto", _BACKENDS), RESTART, MODELS,
                 "what computes: auto takes the first that works"),
    SettingField("optimization_level", "LLAMA_OPTIMIZATION_LEVEL", _OPTIMIZATION, RESTART, MODELS,
                 "how models are computed; auto takes the fastest that passes the quality gate"),
    SettingField("dtype", "LLAMA_DTYPE", Choice("auto", _DTYPES), RESTART, MODELS,
                 "type of weights and cache"),
    SettingField("num_slots", "LLAMA_NUM_SLOTS", Whole(32, 1, 1024), RESTART, MODELS,
                 "sequences that one engine runs at once"),
    SettingField("max_model_len", "LLAMA_MAX_MODEL_LEN", Whole(0, 0, 10_000_000), RESTART, MODELS,
                 "context length, where it shall be shorter than the model's; 0 is the model's"),
    SettingField("max_memory", "LLAMA_MAX_MEMORY", Memory("80%"), RESTART, MODELS,
                 "memory that all models may hold together: a share such as 80%, or a size such as 12GiB"),
    SettingField("tensor_parallel", "LLAMA_TENSOR_PARALLEL", Whole(1, 1, 64), RESTART, MODELS,
                 "GPUs that share every layer of a model"),
    SettingField("devices", "LLAMA_DEVICES", Numbers(0, 1023), RESTART, MODELS,
                 "numbers of the GPUs to use; none means the first ones"),
    SettingField("keep_alive", "LLAMA_KEEP_ALIVE", Whole(300, -1, 2**31 - 1), LIVE, MODELS,
                 "seconds after which an unused model is unloaded; -1 is never"),
    SettingField("worker_concurrency", "LLAMA_WORKER_CONCURRENCY", Whole(64, 1, 1024), RESTART, MODELS,
                 "jobs that one worker looks after at once"),
    SettingField("max_input_chars", "LLAMA_MAX_INPUT_CHARS", Whole(200_000, 1, 10_000_000), LIVE, REQUESTS,
                 "longest text of a request, in characters"),
    SettingField("max_new_tokens", "LLAMA_MAX_NEW_TOKENS", Whole(8192, 1, 1_000_000), LIVE, REQUESTS,
                 "highest max_tokens of a request"),
    SettingField("max_queue", "LLAMA_MAX_QUEUE", Whole(256, 1, 100_000), LIVE, REQUESTS,
                 "requests that may wait before new ones get 429"),
    SettingField("max_batch_inputs", "LLAMA_MAX_BATCH_INPUTS", Whole(512, 1, 10_000), LIVE, REQUESTS,
                 "highest number of inputs of a batch"),
    SettingField("max_file_bytes", "LLAMA_MAX_FILE_BYTES", Whole(104_857_600, 1024, 1_073_741_824), LIVE,
                 REQUESTS, "largest file of POST /v1/files, in bytes"),
    SettingField("max_user_files", "LLAMA_MAX_USER_FILES", Whole(1000, 1, 100_000), LIVE, REQUESTS,
                 "files that one user may have here at once"),
    SettingField("max_user_file_bytes", "LLAMA_MAX_USER_FILE_BYTES", Whole(2_147_483_648, 1024, 10**15),
                 LIVE, REQUESTS, "bytes of all files of one user together"),
    SettingField("file_retention_days", "LLAMA_FILE_RETENTION_DAYS", Whole(30, 1, 3650), LIVE, REQUESTS,
                 "days after which a file is removed, uploads and results of batches alike"),
    SettingField("job_timeout", "LLAMA_JOB_TIMEOUT", Whole(300, 1, 1500), LIVE, REQUESTS,
                 "seconds that a request may take; the highest timeout of a request"),
    SettingField("resume_grace", "LLAMA_RESUME_GRACE", Whole(30, 1, 3600), LIVE, REQUESTS,
                 "seconds that a resumable request goes on after its caller has left"),
    SettingField("stream_interval", "LLAMA_STREAM_INTERVAL", Whole(60, 0, 1000), LIVE, REQUESTS,
                 "milliseconds between a stream's events where many are open; 0 tells each token at once"),
    SettingField("job_retention", "LLAMA_JOB_RETENTION", Keeping("full"), LIVE, REQUESTS,
                 "what is kept of prompts and answers after the end: full, 30d and so on, hash, or none"),
    SettingField("job_history_days", "LLAMA_JOB_HISTORY_DAYS", Whole(0, 0, 36_500), LIVE, REQUESTS,
                 "days after which ended jobs are removed as a whole; 0 keeps them"),
    SettingField("audited_job_reads", "LLAMA_AUDITED_JOB_READS", _SWITCH, LIVE, REQUESTS,
                 "whether Admins may read prompts and answers of others, with a reason and an audit row"),
    SettingField("rate_inference", "LLAMA_RATE_INFERENCE", _limit(100), LIVE, LIMITS,
                 "inference requests a minute and user; -1 is no limit"),
    SettingField("rate_batch", "LLAMA_RATE_BATCH", _limit(10), LIVE, LIMITS,
                 "batch requests a minute and user"),
    SettingField("rate_plugins", "LLAMA_RATE_PLUGINS", _limit(30), LIVE, LIMITS,
                 "plugin operations a minute and user"),
    SettingField("rate_system", "LLAMA_RATE_SYSTEM", _limit(300), LIVE, LIMITS,
                 "all other requests a minute and user"),
    SettingField("tokens_per_minute", "LLAMA_TOKENS_PER_MINUTE", _limit(-1), LIVE, LIMITS,
                 "tokens, read and generated, a minute and user"),
    SettingField("concurrent_jobs", "LLAMA_CONCURRENT_JOBS", _limit(-1), LIVE, LIMITS,
                 "jobs of one user that may wait or run at once"),
    SettingField("daily_tokens", "LLAMA_DAILY_TOKENS", _limit(-1), LIVE, LIMITS,
                 "tokens a day (UTC) and user"),
    SettingField("monthly_tokens", "LLAMA_MONTHLY_TOKENS", _limit(-1), LIVE, LIMITS,
                 "tokens a calendar month (UTC) and user"),
    SettingField("max_sockets", "LLAMA_MAX_SOCKETS", Whole(1000, 1, 100_000), LIVE, LIMITS,
                 "live sockets of one web process"),
    SettingField("max_user_sockets", "LLAMA_MAX_USER_SOCKETS", Whole(64, 1, 100_000), LIVE, LIMITS,
                 "live sockets of one user in one web process"),
    SettingField("max_key_sockets", "LLAMA_MAX_KEY_SOCKETS", Whole(32, 1, 100_000), LIVE, LIMITS,
                 "live sockets of one key in one web process"),
    SettingField("limits_without_redis", "LLAMA_LIMITS_WITHOUT_REDIS", Choice("open", ("open", "closed")),
                 LIVE, LIMITS, "whether inference is served while Redis cannot count"),
    SettingField("plugin_walls", "LLAMA_PLUGIN_WALLS", Choice("required", ("required", "preferred")),
                 LIVE, PLUGINS, "whether a plugin starts that cannot be kept from files or network here"),
    SettingField("metrics_interval", "LLAMA_METRICS_INTERVAL", Whole(1, 1, 60), LIVE, METRICS,
                 "seconds between two readings of a machine"),
    SettingField("history_second_hours", "LLAMA_HISTORY_SECOND_HOURS", Whole(1, 1, 168), LIVE, METRICS,
                 "hours for which every reading is kept"),
    SettingField("history_minute_days", "LLAMA_HISTORY_MINUTE_DAYS", Whole(8, 1, 366), LIVE, METRICS,
                 "days for which figures of 1 and of 5 minutes are kept"),
    SettingField("history_quarter_days", "LLAMA_HISTORY_QUARTER_DAYS", Whole(92, 1, 3660), LIVE, METRICS,
                 "days for which figures of 15 minutes are kept"),
    SettingField("history_hour_days", "LLAMA_HISTORY_HOUR_DAYS", Whole(400, 1, 36_500), LIVE, METRICS,
                 "days for which figures of an hour are kept"),
    SettingField("alert_history_days", "LLAMA_ALERT_HISTORY_DAYS", Whole(90, 1, 36_500), LIVE, METRICS,
                 "days for which alerts that are over are kept"),
    SettingField("trace_sample_percent", "LLAMA_TRACE_SAMPLE_PERCENT", Whole(100, 0, 100), RESTART, LOGS,
                 "of 100 traces that begin here, how many are sent"),
    SettingField("trace_content", "LLAMA_TRACE_CONTENT", _SWITCH, RESTART, LOGS,
                 "whether spans hold prompts and answers"),
    SettingField("log_level", "LLAMA_LOG_LEVEL", _LOG_LEVEL, LIVE, LOGS,
                 "how much the portal writes to its log"),
    SettingField("audit_retention_days", "LLAMA_AUDIT_RETENTION_DAYS", Whole(0, 0, 36_500), LIVE, LOGS,
                 "days after which audit_archive moves audit rows to sealed files; 0 keeps all"),
)
# fmt: on

FIELD_BY_NAME = {field.name: field for field in SETTING_FIELDS}
