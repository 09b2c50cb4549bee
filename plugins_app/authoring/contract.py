"""Holds a plugin against the contract, in a process of its own, as a worker would run it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plugins_app.answer_filter import AnswerFilter
from plugins_app.authoring.cases import ANSWER, cases
from plugins_app.base import Context, Hook, PluginRefusal
from plugins_app.dependencies import missing_dependencies
from plugins_app.discovery import is_valid_slug
from plugins_app.fingerprint import FingerprintError, fingerprint
from plugins_app.manifest import ManifestError, read_manifest
from plugins_app.outcomes import kept
from plugins_app.pipeline import PluginStopError
from plugins_app.runners.base import PluginFaultError, PluginLoadError, Runner
from plugins_app.runners.isolated import IsolatedRunner
from plugins_app.settings_schema import SettingsError, effective_settings
from plugins_app.spec import FailurePolicy, PluginSpec, Tier

# Whichever pieces an answer comes in: so many ways to cut it are tried.
_NUM_CUTS = 12


class UnusableError(Exception):
    """There is nothing that could be called; the message says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `is_good` None: worth a look, but no breach of the contract."""

    name: str
    is_good: bool | None
    words: str = ""


def spec_of(path: Path, config: dict[str, Any]) -> PluginSpec:
    """The plugin of a file or folder, with its settings filled in. Raises UnusableError."""
    path = path.resolve()
    slug = path.name.removesuffix(".py")
    if not path.exists():
        raise UnusableError(f"{path} is not there")
    if not is_valid_slug(slug):
        raise UnusableError(f"file: {slug!r} is no id: a-z 0-9 _ -, at most 63 characters")
    try:
        manifest = read_manifest(path)
        digest = fingerprint(path)
        settings = effective_settings(manifest.settings_schema, config)
    except (ManifestError, FingerprintError, SettingsError) as error:
        raise UnusableError(str(error)) from error
    if missing := missing_dependencies(manifest.dependencies):
        raise UnusableError(f"dependencies: not met here: {', '.join(missing)}")
    return PluginSpec(
        slug, manifest.version, Tier.USER, path, digest, manifest.hooks, settings,
        policy=FailurePolicy.FAIL_CLOSED,
    )  # fmt: skip


def check_contract(
    spec: PluginSpec, make: Callable[[PluginSpec], Runner] = IsolatedRunner
) -> Iterator[Finding]:
    """Everything that can be found out by calling it. Stops where it cannot be started."""
    runner, began = make(spec), time.perf_counter()
    try:
        runner.start()
    except PluginLoadError as error:
        yield Finding("starts", False, str(error))
        runner.close()
        return
    try:
        yield Finding("starts", True, f"in {time.perf_counter() - began:.2f} s")
        for hook in spec.hooks:
            yield from _check_hook(runner, hook)
        if Hook.CHUNK in spec.hooks:
            yield _check_pieces(runner)
    finally:
        began = time.perf_counter()
        runner.close()
    took = time.perf_counter() - began
    yield Finding("cleans up", took < 2.0, f"in {took:.2f} s")


def _check_hook(runner: Runner, hook: Hook) -> Iterator[Finding]:
    """Every context is answered with one of its kind, in time; twice the same with the same."""
    slowest, num_refused, differs = 0.0, 0, ""
    for context in cases(hook):
        try:
            began = time.perf_counter()
            first = kept(context, runner.call(hook, context))
            slowest = max(slowest, time.perf_counter() - began)
            if kept(context, runner.call(hook, context)) != first:
                differs = _shown(context)
        except PluginRefusal:
            num_refused += 1
        except PluginFaultError as fault:
            yield Finding(
                hook.value, False, f"{fault.kind}: {fault} (called with {_shown(context)})"
            )
            return
    refused = f", {num_refused} refused" if num_refused else ""
    budget = runner.spec.budget.call_timeout
    yield Finding(
        hook.value, True, f"at most {slowest * 1000:.1f} ms of {budget:g} s allowed{refused}"
    )
    if differs and hook is not Hook.FINISHED:
        words = f"answers the same call in two ways ({differs}): the attempts of a job may differ"
        yield Finding(hook.value, None, words)


@dataclass(frozen=True, slots=True)
class _Direct:
    """The plugin as a link that counts nothing."""

    spec: PluginSpec
    runner: Runner

    def call(self, hook: Hook, context: Context) -> Context:
        return kept(context, self.runner.call(hook, context))


def _check_pieces(runner: Runner) -> Finding:
    """A stream put together must be what the same plugin makes of the whole text."""
    name = "pieces"
    link = _Direct(replace(runner.spec, policy=FailurePolicy.FAIL_CLOSED), runner)
    try:
        whole = _filtered(link, [ANSWER])
        for pieces in _cuts():
            if (joined := _filtered(link, pieces)) != whole:
                at = next(
                    (n for n, (a, b) in enumerate(zip(joined, whole, strict=False)) if a != b),
                    min(len(joined), len(whole)),
                )
                return Finding(
                    name,
                    False,
                    f"in {len(pieces)} pieces it comes to another text than as a whole, from character "
                    f"{at} on: {joined[at : at + 20]!r}, not {whole[at : at + 20]!r}. Is something held "
                    "back across the border of two pieces, and given out with the last one?",
                )
    except PluginStopError as stop:
        return Finding(name, None, f"not tried: {stop}")
    return Finding(name, True, f"{_NUM_CUTS} ways to cut an answer come to the same text")


def _filtered(link: _Direct, pieces: Sequence[str]) -> str:
    chunks = AnswerFilter([link], request_id="check", model="any-model")
    return "".join([*map(chunks.push, pieces[:-1]), chunks.push(pieces[-1], is_last=True)])


def _cuts() -> Iterator[list[str]]:
    """Letter by letter, and at places that are the same at every check; the last one may be empty."""
    yield [*ANSWER, ""]
    chance = random.Random(1)  # noqa: S311  no secret hangs on it
    for _ in range(_NUM_CUTS - 1):
        places = sorted(chance.sample(range(1, len(ANSWER)), chance.randint(1, 12)))
        yield [ANSWER[a:b] for a, b in zip([0, *places], [*places, None], strict=True)]


def _shown(context: Context) -> str:
    text = repr(context)
    return text if len(text) <= 160 else f"{text[:160]}..."
