"""The engine's figures as one `Stats` event."""

from __future__ import annotations

from inference.engine.backends.base import BaseBackend
from inference.engine.counters import Counters
from inference.engine.memory import resident_bytes
from inference.engine.scheduler import Scheduler
from inference.protocol import Stats


def take_stats(scheduler: Scheduler, counters: Counters, backend: BaseBackend) -> Stats:
    """A snapshot, from any thread; its numbers may be one step apart."""
    metrics = backend.get_metrics()
    return Stats(
        num_running=scheduler.num_running,
        num_waiting=scheduler.num_waiting,
        num_slots=scheduler.cache.num_slots,
        kv_cache_usage=scheduler.num_cached_tokens / scheduler.cache.num_token_places,
        prompt_tokens_total=counters.num_prompt_tokens,
        generation_tokens_total=counters.num_generated_tokens,
        requests_total=counters.num_requests,
        steps_total=counters.num_steps,
        step_time_total=counters.step_seconds,
        resident_bytes=resident_bytes(),
        device_memory={name: value for name, value in metrics.items() if name.endswith("_bytes")},
        max_running=scheduler.max_running,
        prefill_budget=scheduler.prefill_budget,
        prefill_steps_total=counters.num_prefill_steps,
        prefill_time_total=counters.prefill_seconds,
        decode_time_total=counters.decode_seconds,
        cached_tokens_total=counters.num_cached_tokens,
        cache_hits_total=counters.num_cache_hits,
        preemptions_total=scheduler.num_preemptions,
        oom_retries_total=counters.num_oom_retries,
        drafted_tokens_total=counters.num_drafted,
        accepted_drafts_total=counters.num_drafts_accepted,
        optimization_level=backend.optimization_level,
    )
