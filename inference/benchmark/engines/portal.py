"""Our engine behind our portal: what is left of its speed after all seven stages and HTTP."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil

from inference.benchmark.engines.base import (
    CONTEXT,
    Description,
    EngineUnavailableError,
    MeasuredEngine,
    RunFailedError,
    Say,
    Setting,
)
from inference.benchmark.engines.http_stream import (
    HttpStreamClient,
    is_answering,
    read_whole,
)
from inference.benchmark.engines.process import MeasuredProcess
from inference.benchmark.figures import Trace
from inference.tokenizer import Tokenizer
from llamagpu.lib.version import VERSION

_PROBE, _PROBE_TIMEOUT = "Hello", 120.0
_READY_TIMEOUT, _READY_POLL = 60.0, 0.1
_ROOT = Path(__file__).resolve().parents[3]


class PortalEngine(MeasuredEngine):
    """Valkey, database, worker, web server and the engine as they serve, streamed by /api/stream_infer."""

    name = "portal"
    transport: ClassVar[str] = "HTTP, streamed"
    web_server: ClassVar[str] = "daphne"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._tokenizer = Tokenizer.load(setting.model_dir)

    def prepare(self, say: Say) -> None:
        """It is all here."""

    def start(self, say: Say) -> Description:
        say("starting the whole stack")
        started = time.perf_counter()
        self.process = MeasuredProcess(
            [
                *(sys.executable, "-m", "inference.benchmark.portal.serve_stack"),
                self.web_server,
                *map(str, self._folders()),
            ],
            log_file=self._setting.cache_dir / "portal.log",
            environment={
                **os.environ,
                "LLAMA_DEFAULT_MODEL": self._setting.model_dir.name,
                "LLAMA_MAX_MODEL_LEN": str(CONTEXT),
            },
            with_pipes=True,
            cwd=_ROOT,
        )
        line = self.process.stdout.readline()
        if not line:
            raise EngineUnavailableError(f"the portal ended: {self.process.last_words()}")
        told = json.loads(line)
        self._port = int(told["port"])
        self._client = self._make_client(self._port, told["key"])
        load_time = time.perf_counter() - started
        self._template_tokens = self._count_template(told["port"], told["key"])
        return Description(VERSION, "as ours", self.transport, load_time)

    def _make_client(self, port: int, key: str) -> HttpStreamClient:
        return HttpStreamClient(port, "/api/stream_infer", _count, key)

    def _count_template(self, port: int, key: str) -> int:
        """Tokens that the chat template adds. Prompts are so much shorter: the model reads as many."""
        try:
            answer = httpx.post(
                f"http://127.0.0.1:{port}/api/infer",
                json={"text": _PROBE, "max_tokens": 1},
                headers={"Authorization": f"Bearer {key}"},
                timeout=_PROBE_TIMEOUT,
            )
            counted = answer.raise_for_status().json()["metadata"]["usage"]["prompt_tokens"]
        except httpx.HTTPError as error:
            raise EngineUnavailableError(f"the portal does not answer: {error}") from error
        return int(counted) - len(self._tokenizer.encode_plain(_PROBE))

    def _folders(self) -> list[Path]:
        """The models', and where our engine alone has what it prepared: both run at one level."""
        cache = self._setting.engine_cache_dir
        return [self._setting.model_dir.parent, *([cache] if cache else [])]

    def run(
        self, prompts: Sequence[Sequence[int]], *, new_tokens: int, concurrency: int
    ) -> list[Trace]:
        bodies = [
            {
                "text": self._tokenizer.decode(prompt[self._template_tokens :]),
                "max_tokens": new_tokens,
                "temperature": 0,
                "ignore_eos": True,
            }
            for prompt in prompts
        ]
        self._wait_ready()
        return self._client.run(bodies, concurrency)

    def _wait_ready(self) -> None:
        """After a pause its worker has to tell that it lives. Raises RunFailedError."""
        deadline = time.monotonic() + _READY_TIMEOUT
        while not is_answering(self._port, "/readyz"):
            if time.monotonic() > deadline:
                raise RunFailedError("the portal is not ready after its pause")
            time.sleep(_READY_POLL)

    def pause(self) -> None:
        for process in self._family():
            process.suspend()

    def resume(self) -> None:
        for process in self._family():
            process.resume()

    def _family(self) -> list[psutil.Process]:
        """All of its processes: worker and engine lead groups of their own."""
        if self.process is None:
            return []
        root = psutil.Process(self.process.pid)
        return [*root.children(recursive=True), root]


class UvicornPortalEngine(PortalEngine):
    """The same under the other web server."""

    name = "portal-uvicorn"
    transport = "HTTP, streamed, uvicorn"
    web_server = "uvicorn"


class WholePortalEngine(PortalEngine):
    """The same where each answer comes as one, from /api/infer: all its tokens arrive at its end."""

    name = "portal-whole"
    transport = "HTTP, whole answers"

    def _make_client(self, port: int, key: str) -> HttpStreamClient:
        return HttpStreamClient(port, "/api/infer", _count_all, key, read_whole)


def _count_all(answer: dict[str, Any], counted: int) -> int:
    return int(answer["metadata"]["usage"]["completion_tokens"])


def _count(event: dict[str, Any], counted: int) -> int:
    """An event of several tokens names the place of the last one.

    What had no text of its own, such as an end token that was to be ignored, comes with the last word.
    """
    if event.get("is_complete"):
        return int(event["usage"]["completion_tokens"]) - counted
    return int(event["position"]) + 1 - counted if "position" in event else 0
