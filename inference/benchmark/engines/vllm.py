"""vLLM's CPU build, as its server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference.benchmark.engines.base import CONTEXT, MAX_CONCURRENCY, Say, Setting
from inference.benchmark.engines.environment import Environment
from inference.benchmark.engines.http_server import HttpEngine

_MODEL = "model"
_KV_CACHE_GIB = 2


class VllmEngine(HttpEngine):
    """bf16 weights, compiled at its start, the OpenAI door with token ids in and out."""

    name = "vllm"
    path = "/v1/completions"
    precision = "bf16"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.environment = Environment(
            "vllm", setting, unwanted=("torchvision", "torchaudio", "torchcodec")
        )

    def prepare(self, say: Say) -> None:
        self.environment.make(say)

    def command(self, port: int) -> list[str]:
        return [
            # The module and not the program: that one looks for a package named "vllm".
            *(str(self.environment.python), "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(self._setting.model_dir), "--served-model-name", _MODEL),
            *("--dtype", "bfloat16"),
            *("--max-model-len", str(CONTEXT), "--max-num-seqs", str(MAX_CONCURRENCY)),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--no-enable-prefix-caching", "--disable-uvicorn-access-log"),
        ]

    def variables(self) -> dict[str, str]:
        return {
            "VLLM_CPU_KVCACHE_SPACE": str(_KV_CACHE_GIB),
            # By default it leaves a core to the server's front; the engines it is compared with do not.
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CACHE_ROOT": str(self.environment.folder / "cache"),
        }

    def body(self, prompt: Sequence[int], new_tokens: int) -> dict[str, Any]:
        return {
            "model": _MODEL,
            "prompt": list(prompt),
            "max_tokens": new_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "return_token_ids": True,
        }

    def count_tokens(self, event: dict[str, Any], counted: int) -> int:
        return sum(len(choice.get("token_ids") or ()) for choice in event["choices"])
