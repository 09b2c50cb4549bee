"""OpenVINO GenAI's continuous batching, driven inside its own environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import openvino
import openvino_genai
from driver_loop import serve

_CACHE_GIB = 2


class OpenVinoDriver:
    """One pipeline with the defaults of its authors: u8 KV cache, dynamic quantization."""

    def __init__(self, order: dict[str, Any]) -> None:
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = _CACHE_GIB
        scheduler.max_num_seqs = order["max_concurrency"]
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            order["model"],
            scheduler,
            "CPU",
            {"INFERENCE_NUM_THREADS": order["num_threads"]},
        )
        self._next_id = 0

    def facts(self) -> dict[str, str]:
        return {"openvino_genai": openvino_genai.__version__}

    def run(
        self,
        prompts: list[list[int]],
        new_tokens: int,
        concurrency: int,
        now: Callable[[], float],
    ) -> list[Any]:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = new_tokens
        config.ignore_eos = True
        config.do_sample = False
        waiting = list(reversed(prompts))
        running: list[tuple[Any, list[Any], float]] = []
        traces: list[Any] = []
        while waiting or running:
            while waiting and len(running) < concurrency:
                running.append((self._add(waiting.pop(), config), [], now()))
            self._pipeline.step()
            for entry in list(running):
                handle, arrivals, sent = entry
                if handle.can_read():
                    count = sum(len(output.generated_ids) for output in handle.read().values())
                    if count:
                        arrivals.append((now(), count))
                if sum(count for _, count in arrivals) >= new_tokens:
                    running.remove(entry)
                    traces.append((sent, arrivals))
        return traces

    def _add(self, prompt: list[int], config: Any) -> Any:
        self._next_id += 1
        ids = openvino.Tensor(numpy.array([prompt], dtype=numpy.int64))
        return self._pipeline.add_request(self._next_id, ids, config)


if __name__ == "__main__":
    serve(OpenVinoDriver)
