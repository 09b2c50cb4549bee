"""What plugins cost a request: none, the built-in ones, one in a process of its own, filters of streams.

In-process figures are time of a core, so that other work on the machine does not count; figures with a
second process in them are time by the clock, and do count it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from llamagpu.lib.percentiles import percentiles
from plugins_app.answer_filter import AnswerFilter
from plugins_app.base import AdaptContext, Hook, PromptContext, ResultContext
from plugins_app.breaker import Breaker
from plugins_app.discovery import find_candidates
from plugins_app.fingerprint import fingerprint
from plugins_app.lineup import Lineups
from plugins_app.link import Link
from plugins_app.manifest import read_manifest
from plugins_app.pipeline import Chain
from plugins_app.recorder import Recorder
from plugins_app.runners.factory import make_runner
from plugins_app.settings_schema import effective_settings
from plugins_app.spec import PluginSpec, Tier

_MODEL, _ROLE, _ID = "model", "user", "request"
_WORDS = "The quick brown fox writes to jane.doe@example.org about the weather in Lyon. "
PROMPT_TEXT = (_WORDS * 27)[:2048]
_STREAMS = 32
_CHUNK = " weather"
# What has no default.
_SETTINGS: dict[str, dict[str, Any]] = {
    "system_prompt": {"text": "Answer in one sentence."},
    "stop_phrase": {"phrases": ["a word that never comes"]},
}
_NEUTRAL = """
from dataclasses import replace
from plugins_app.base import BasePlugin

class Neutral(BasePlugin):
    metadata = {}

    def execute(self, input_data):
        return replace(input_data, text=input_data.text + "!")
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of one call, over `count` calls; `target` is the most that it may be at the median."""

    name: str
    count: int
    median: float
    p95: float
    target: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_plugins(calls: int) -> list[Cost]:
    """Starts everything that it needs and ends it."""
    with ExitStack() as kept:
        core = [kept.enter_context(_running(spec)) for spec in _core_specs()]
        folder = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="llamagpu-bench-")))
        neutral = _neutral(folder)
        isolated = kept.enter_context(_running(neutral))
        filters = Chain(core).links(Hook.CHUNK)
        return [
            _series("no plugin", calls, _request([]), 0.1),
            _series(f"{len(core)} core plugins, a prompt of 2 KB", calls, _request(core), 2.0),
            _series(
                f"{len(filters)} core stream filters, a piece of one of {_STREAMS} streams",
                calls * 5,
                _pieces(core),
                0.2,
            ),
            _series(
                "an isolated plugin, there and back with 2 KB",
                calls,
                lambda: isolated.call(Hook.PROMPT, _prompt()),
                1.0,
                time.perf_counter,
            ),
            _series(
                "loading an isolated plugin, and ending it",
                max(5, calls // 100),
                lambda: _load(neutral),
                1000.0,
                time.perf_counter,
            ),
        ]


def _core_specs() -> list[PluginSpec]:
    found = find_candidates((), Path("/nowhere"))
    return [
        _spec(candidate.slug, candidate.path, Tier.CORE)
        for candidate in found
        if candidate.tier is Tier.CORE and not candidate.problem
    ]


def _spec(slug: str, path: Path, tier: Tier) -> PluginSpec:
    manifest = read_manifest(path)
    return PluginSpec(
        slug=slug,
        version=manifest.version,
        tier=tier,
        path=path,
        sha256=fingerprint(path),
        hooks=manifest.hooks,
        config=effective_settings(manifest.settings_schema, _SETTINGS.get(slug, {})),
    )


def _neutral(folder: Path) -> PluginSpec:
    path = folder / "neutral.py"
    path.write_text(_NEUTRAL, encoding="utf-8")
    return PluginSpec("neutral", "1.0.0", Tier.USER, path, fingerprint(path), (Hook.PROMPT,))


@contextmanager
def _running(spec: PluginSpec) -> Iterator[Link]:
    runner = make_runner(spec)
    runner.start()
    try:
        yield Link(spec, runner, Breaker(), Recorder("benchmark"))
    finally:
        runner.close()


def _load(spec: PluginSpec) -> None:
    with _running(spec):
        pass


def _prompt() -> PromptContext:
    return PromptContext(_ID, _MODEL, text=PROMPT_TEXT, messages=None, role=_ROLE)


def _request(links: list[Link]) -> Callable[[], None]:
    """What a worker does for one request apart from its stream."""
    lineups = Lineups(lambda: None)
    lineups.replace(links)
    adapt = AdaptContext(_ID, _MODEL, "llama", "cpu", _ROLE, PROMPT_TEXT, None)
    result = ResultContext(_ID, _MODEL, PROMPT_TEXT, finish_reason="stop", role=_ROLE)

    def request() -> None:
        with lineups.lease() as held:
            chain = Chain.of(held, _MODEL, _ROLE)
            if chain.has(Hook.ADAPT):
                chain.adapt(adapt, lambda context: None)
            if chain.has(Hook.PROMPT):
                chain.prompt(_prompt())
            if chain.has(Hook.RESULT):
                chain.result(result)

    return request


def _pieces(links: list[Link]) -> Callable[[], None]:
    """The next piece of the next stream, all of which are on their way at once."""
    chunk_links = Chain(links).links(Hook.CHUNK)
    streams = [
        AnswerFilter(chunk_links, request_id=_ID, model=_MODEL, role=_ROLE) for _ in range(_STREAMS)
    ]
    turns = cycle(streams)

    def push() -> None:
        next(turns).push(_CHUNK)

    return push


def _series(
    name: str,
    calls: int,
    call: Callable[[], object],
    target: float,
    clock: Callable[[], float] = time.thread_time,
) -> Cost:
    for _ in range(min(20, calls)):
        call()
    times = []
    for _ in range(calls):
        began = clock()
        call()
        times.append((clock() - began) * 1000)
    found = percentiles(times)
    return Cost(name, calls, float(found["p50"] or 0), float(found["p95"] or 0), target)
