"""transformers' `generate`, driven inside its own environment: batches of equally long prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from driver_loop import serve


class _Clock(transformers.StoppingCriteria):
    """Never stops; notes when each token of the batch was there."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self.times.append(self._now())
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


class TransformersDriver:
    """bf16 weights, the library's default attention."""

    def __init__(self, order: dict[str, Any]) -> None:
        torch.set_num_threads(order["num_threads"])
        self._model = transformers.AutoModelForCausalLM.from_pretrained(
            order["model"], dtype=torch.bfloat16
        ).eval()
        # Without an end token an answer is as long as it was asked for.
        self._model.generation_config.eos_token_id = None
        self._model.generation_config.pad_token_id = 0

    def facts(self) -> dict[str, str]:
        return {"transformers": transformers.__version__, "torch": torch.__version__}

    def run(
        self,
        prompts: list[list[int]],
        new_tokens: int,
        concurrency: int,
        now: Callable[[], float],
    ) -> list[Any]:
        traces: list[Any] = []
        for start in range(0, len(prompts), concurrency):
            batch = torch.tensor(prompts[start : start + concurrency])
            clock, sent = _Clock(now), now()
            with torch.inference_mode():
                self._model.generate(
                    batch,
                    attention_mask=torch.ones_like(batch),
                    max_new_tokens=new_tokens,
                    do_sample=False,
                    stopping_criteria=[clock],
                )
            arrivals = [(time, 1) for time in clock.times]
            traces.extend((sent, arrivals) for _ in range(len(batch)))
        return traces


if __name__ == "__main__":
    serve(TransformersDriver)
