"""Real plugins on disk with real runners around them, for the tests of isolation."""

from __future__ import annotations

import queue
import textwrap
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plugins_app.base import Context, Hook, PromptContext
from plugins_app.fingerprint import fingerprint
from plugins_app.runners.base import PluginFaultError, Runner
from plugins_app.runners.factory import make_runner
from plugins_app.spec import Budget, PluginSpec, Tier

HELLO = PromptContext(request_id="r", model="m", text="hello", messages=None)
ATTACK = replace(HELLO, text="attack")
#: Long enough for a machine with other work.
PATIENCE = 60.0

SOURCE = """
import os, sys, time, ctypes, signal, socket
from dataclasses import replace
from plugins_app.base import *
{head}

class Hostile(BasePlugin):
    metadata = {{}}

    def execute(self, context):
        if context.text == "attack":
{attack}
        return replace(context, text=context.text.upper())
{methods}
"""


def hostile(attack: str = "pass", head: str = "", methods: str = "") -> str:
    """A plugin that writes in capitals and runs `attack` when it reads that word."""
    return SOURCE.format(
        head=textwrap.dedent(head),
        attack=textwrap.indent(textwrap.dedent(attack), " " * 12),
        methods=textwrap.indent(textwrap.dedent(methods), " " * 4),
    )


# Runs the function that it reads.
OBEDIENT = hostile(
    methods="""
    def execute(self, context):
        if context.text == "hello":
            return replace(context, text="HELLO")
        scope = dict(globals())
        exec(context.text, scope)
        return scope["attack"](self, context)
    """
)


def order(attack: str) -> PromptContext:
    """For the plugin that obeys."""
    body = textwrap.indent(textwrap.dedent(attack), "    ")
    return replace(HELLO, text=f"def attack(self, context):\n{body}")


class Stage:
    """Starts plugins from their source and closes them at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runners: list[Runner] = []
        self._events: defaultdict[str, queue.SimpleQueue[str]] = defaultdict(queue.SimpleQueue)
        self._obedient: dict[Tier, Runner] = {}

    def spec(self, source: str, *, tier: Tier = Tier.USER, **options: Any) -> PluginSpec:
        path = self._folder / f"plugin_{len(list(self._folder.iterdir()))}.py"
        path.write_text(source, encoding="utf-8")
        budget = {"call_timeout": 5.0, "start_timeout": PATIENCE, **options.pop("budget", {})}
        return PluginSpec(
            slug=path.stem,
            version="1.0.0",
            tier=tier,
            path=path,
            sha256=fingerprint(path),
            hooks=tuple(Hook),
            budget=Budget(**budget),
            **options,
        )

    def start(self, source: str, **options: Any) -> Runner:
        return self.start_spec(self.spec(source, **options))

    def start_spec(self, spec: PluginSpec) -> Runner:
        runner = make_runner(spec, on_event=lambda event, _: self._events[spec.slug].put(event))
        self._runners.append(runner)
        runner.start()
        return runner

    def obedient(self, tier: Tier = Tier.USER) -> Runner:
        """One that runs what `order` makes, shared by all tests of a module."""
        if tier not in self._obedient:
            self._obedient[tier] = self.start(OBEDIENT, tier=tier)
        return self._obedient[tier]

    def close(self, *, with_shared: bool) -> None:
        shared = list(self._obedient.values())
        for runner in self._runners:
            if with_shared or runner not in shared:
                runner.close(0.2)
        self._runners = [] if with_shared else shared

    def has_event(self, runner: Runner) -> bool:
        return not self._events[runner.spec.slug].empty()

    def await_event(self, runner: Runner, event: str) -> None:
        while self._events[runner.spec.slug].get(timeout=PATIENCE) != event:
            pass

    def endure(
        self,
        attacked: Runner,
        context: Context = ATTACK,
        hook: Hook = Hook.PROMPT,
        *,
        comes_back: bool = False,
    ) -> PluginFaultError:
        """The fault of an attack. Meanwhile and afterwards others are served, afterwards by it, too."""
        witness = self.obedient(Tier.COMMUNITY)
        with ThreadPoolExecutor(1) as caller:
            under_way = caller.submit(attacked.call, hook, context)
            serves(witness)
            with pytest.raises(PluginFaultError) as caught:
                under_way.result(PATIENCE)
        serves(witness)
        if comes_back:
            self.await_event(attacked, "restarted")
        serves(attacked)
        return caught.value

    def endure_order(self, attack: str, tier: Tier = Tier.USER) -> PluginFaultError:
        return self.endure(self.obedient(tier), order(attack))


def serves(runner: Runner) -> None:
    assert answer_to(runner, HELLO) == "HELLO"


def answer_to(runner: Runner, context: PromptContext = ATTACK) -> str:
    answer = runner.call(Hook.PROMPT, context)
    assert isinstance(answer, PromptContext)
    return answer.text or ""
