"""What inference counts. Names, and the label `model_name`, are vLLM's where it has the like."""

from __future__ import annotations

from monitoring.metrics import LENGTH_BUCKETS, Counter, Gauge, Histogram, Merge

_MODEL = ("model_name",)

# ------------------------------------------------------------------ requests, each counted at its end
SUCCESSES = Counter(
    "request_success_total", "Jobs that ended well, by why.", ("model_name", "finished_reason")
)
FAILURES = Counter(
    "request_failure_total", "Jobs that ended otherwise, by error code.", ("model_name", "code")
)
LATENCY = Histogram(
    "e2e_request_latency_seconds", "From arrival to the end, of jobs that ended well.", _MODEL
)
QUEUE_TIME = Histogram(
    "request_queue_time_seconds", "From a job's creation to the beginning of its computing.", _MODEL
)
INFERENCE_TIME = Histogram(
    "request_inference_time_seconds", "Computing, of jobs that ended well.", _MODEL
)
LOAD_TIME = Histogram(
    "request_load_time_seconds", "Waiting for a loaded engine, a part of the queue time.", _MODEL
)
TOKEN_TIME = Histogram(
    "request_time_per_output_token_seconds",
    "Time after the first token, for each further one, of jobs that ended well.",
    _MODEL,
)
PROMPT_LENGTH = Histogram("request_prompt_tokens", "Tokens of prompts.", _MODEL, LENGTH_BUCKETS)
ANSWER_LENGTH = Histogram("request_generation_tokens", "Tokens of answers.", _MODEL, LENGTH_BUCKETS)
RETRIES = Counter("job_retries_total", "Attempts after the first one, by cause.", ("cause",))
OVERHEAD = Histogram(
    "request_overhead_seconds",
    "What the portal itself took of a call that waits for its whole answer.",
    ("door",),
)

# ------------------------------------------------------------------ tokens, as they come
FIRST_TOKEN = Histogram(
    "time_to_first_token_seconds", "From a job's creation to its first token.", _MODEL
)
TOKEN_GAP = Histogram(
    "inter_token_latency_seconds", "Between two tokens of an answer, in the worker.", _MODEL
)
PROMPT_TOKENS = Counter(
    "prompt_tokens_total", "Tokens of prompts, from the cache or not, of every attempt.", _MODEL
)
GENERATION_TOKENS = Counter("generation_tokens_total", "Generated tokens, as they come.", _MODEL)

# ------------------------------------------------------------------ engines, as they report
RUNNING = Gauge("num_requests_running", "Requests that engines compute now.", _MODEL)
WAITING = Gauge("num_requests_waiting", "Requests that wait inside engines.", _MODEL)
SLOTS = Gauge("engine_slots", "Requests that engines can compute at once.", _MODEL)
CACHE_USAGE = Gauge(
    "kv_cache_usage_perc",
    "Used part of the KV cache, 0 to 1; the fullest.",
    _MODEL,
    merge=Merge.MAX,
)
RESIDENT_BYTES = Gauge("engine_resident_bytes", "Host memory of engines.", _MODEL)
DEVICE_BYTES = Gauge(
    "engine_device_bytes", "Memory on devices, by what it is.", ("model_name", "kind")
)
STATES = Gauge("engines", "Engine processes by state.", ("model_name", "state"))
CACHE_QUERIES = Counter(
    "prefix_cache_queries_total", "Tokens of prompts looked up in the cache.", _MODEL
)
CACHE_HITS = Counter("prefix_cache_hits_total", "Those of them found there.", _MODEL)
DRAFTED = Counter("spec_decode_num_draft_tokens_total", "Guessed tokens.", _MODEL)
ACCEPTED = Counter("spec_decode_num_accepted_tokens_total", "Guesses that were right.", _MODEL)
PREEMPTIONS = Counter("num_preemptions_total", "Requests sent back to wait.", _MODEL)
STEPS = Counter(
    "engine_steps_total", "Steps; a prefill step computes prompts.", ("model_name", "kind")
)
STEP_SECONDS = Counter(
    "engine_step_seconds_total", "Time of devices and sampler in steps.", ("model_name", "kind")
)
OOM_RETRIES = Counter("engine_oom_retries_total", "Steps repeated for want of memory.", _MODEL)

# ------------------------------------------------------------------ what becomes of models
LOADS = Counter("model_loads_total", "Loads of engines, by outcome.", ("model_name", "outcome"))
LOAD_SECONDS = Histogram("model_load_seconds", "From an engine's start to ready.", _MODEL)
EVICTIONS = Counter("model_evictions_total", "Engines ended to make room for others.", _MODEL)
CRASHES = Counter("engine_crashes_total", "Engines that ended by themselves.", _MODEL)
PULLS = Counter("model_pulls_total", "Pulls of models, by outcome.", ("outcome",))

# ------------------------------------------------------------------ the way between processes
PUBLISHED = Counter("broker_messages_published_total", "Celery messages sent.", ("task",))
CONSUMED = Counter("broker_messages_consumed_total", "Celery messages begun.", ("task",))
TASK_FAILURES = Counter("broker_task_failures_total", "Celery tasks that raised.", ("task",))
QUEUE_LENGTH = Gauge(
    "broker_queue_length", "Messages that no worker has taken yet.", ("queue",), merge=Merge.LAST
)
ACTIVE_JOBS = Gauge("worker_active_jobs", "Jobs that workers hold.", ("worker",))
WORKERS = Gauge("workers", "Workers that serve.")
STREAM_READERS = Gauge("stream_readers", "Callers that follow or await a job in a web process.")
REAPER_ACTIONS = Counter(
    "reaper_actions_total", "What was done about jobs that nobody worked on.", ("action",)
)
BATCH_LINES = Counter("batch_lines_total", "Lines of file batches, by outcome.", ("outcome",))
