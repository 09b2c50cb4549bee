"""A plugin that returns garbage, edits what it was given or writes to its channel harms nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plugins_app.base import AdaptContext, ChunkContext, Hook, Message
from plugins_app.runners.base import FaultKind, PluginFaultError
from plugins_app.spec import Tier
from tests.plugins_app.stage import ATTACK, HELLO, Stage, hostile, order, serves

GARBAGE = {
    "nothing": "return None",
    "a dict": "return {'text': 'x'}",
    "another context": "return ResultContext('r', 'm', 'x')",
    "a number for text": "return replace(context, text=3)",
    "bytes for text": "return replace(context, text=b'x')",
    "NaN for text": "return replace(context, text=float('nan'))",
    "half a character": "return replace(context, text='\\ud800')",
    "wrong messages": "return replace(context, messages=('hello',))",
    "a list in a message": "return replace(context, messages=(Message('user', ['x']),))",
    "a class of the same name": """
        class PromptContext: text = 'x'
        return PromptContext()
    """,
    "a class that is derived": """
        class Mine(PromptContext): pass
        return Mine('r', 'm', 'x', None)
    """,
}
DEEP = """
    deep = {}
    for _ in range(100_000): deep = {'a': deep}
    return replace(context, state=deep)
"""


@pytest.mark.parametrize("tier", [Tier.USER, Tier.CORE])
@pytest.mark.parametrize("attack", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_no_answer(stage: Stage, attack: str, tier: Tier) -> None:
    assert stage.endure_order(attack, tier).kind is FaultKind.GARBAGE


@pytest.mark.parametrize("tier", [Tier.USER, Tier.CORE])
@pytest.mark.parametrize(
    "attack",
    [
        "return replace(context, state={'a': float('nan')})",
        "return replace(context, state={'a': float('inf')})",
        "return replace(context, state={'a': {1, 2}})",
        "return replace(context, state={'a': object()})",
        "return replace(context, state=[1])",
        "return replace(context, index='1')",
        "return replace(context, index=True)",
        "return replace(context, is_last=None)",
        DEEP,
    ],
)
def test_a_state_that_is_no_json_is_no_answer(stage: Stage, attack: str, tier: Tier) -> None:
    chunk = ChunkContext("r", "m", 0, order(attack).text or "")
    fault = stage.endure(stage.obedient(tier), chunk, Hook.CHUNK)
    assert fault.kind is FaultKind.GARBAGE


@pytest.mark.parametrize("tier", [Tier.USER, Tier.CORE])
def test_too_large_an_answer_is_not_taken(stage: Stage, tier: Tier) -> None:
    runner = stage.start(
        hostile("return replace(context, text='x' * 200_000)"),
        tier=tier,
        budget={"max_output_bytes": 100_000},
    )
    assert stage.endure(runner).kind is FaultKind.TOO_LARGE


CHANNEL = """
    own = [n for n in range(3, 1024) if _is_socket(n)][0]
    {attack}
    return context
"""
IS_SOCKET = """
    import stat, struct, json
    def _is_socket(number):
        try:
            return stat.S_ISSOCK(os.fstat(number).st_mode)
        except OSError:
            return False
    def say(own, body):
        os.write(own, struct.pack('>I', len(body)) + body)
"""
WRITES = {
    "noise": "os.write(own, b'noise' * 1000)",
    "a length without end": "os.write(own, b'\\xff\\xff\\xff\\xff')",
    "half a message": "os.write(own, b'\\x00\\x00\\x01\\x00{'); os.close(own)",
    "an empty message": "say(own, b'')",
    "a list": "say(own, b'[]')",
    "brackets": "say(own, b'[' * 60_000)",
    "an answer to no call": "say(own, json.dumps({'id': 9, 'result': {}}).encode())",
    "unknown words": 'say(own, b\'{"id":1,"extra":1}\')',
    "nothing but a number": "say(own, b'{\"id\":1}')",
    "its end": "os.close(own)",
}


@pytest.mark.parametrize("attack", WRITES.values(), ids=WRITES.keys())
def test_one_that_writes_to_its_channel_disturbs_only_itself(stage: Stage, attack: str) -> None:
    runner = stage.start(hostile(CHANNEL.format(attack=attack), head=IS_SOCKET))
    fault = stage.endure(runner, comes_back=True)
    assert fault.kind in (FaultKind.GARBAGE, FaultKind.DIED, FaultKind.RAISED)


def test_an_answer_put_there_beforehand_is_found_out(stage: Stage) -> None:
    """From then on no answer fits its call, and the process is ended."""
    attack = CHANNEL.format(attack='say(own, b\'{"id":1,"raised":"forged"}\')')
    runner = stage.start(hostile(attack, head=IS_SOCKET))
    with pytest.raises(PluginFaultError, match="forged"):
        runner.call(Hook.PROMPT, ATTACK)
    fault = stage.endure(runner, comes_back=True)
    assert (fault.kind, "to call 1, not to 2" in str(fault)) == (FaultKind.GARBAGE, True)


@pytest.mark.parametrize("tier", [Tier.USER, Tier.CORE])
def test_what_it_edits_stays_as_it_was_for_others(stage: Stage, tier: Tier) -> None:
    edits = """
        try:
            context.defaults['temperature'] = 0
        except TypeError:
            pass
        return replace(context, stop=context.stop + ('now',))
    """
    shared = {"temperature": 1.0}
    context = AdaptContext("r", "m", "a", "b", "user", order(edits).text, None, defaults=shared)
    answer = stage.obedient(tier).call(Hook.ADAPT, context)
    assert isinstance(answer, AdaptContext)
    assert answer.stop == ("now",)
    assert shared == {"temperature": 1.0}


def test_every_part_of_a_context_comes_back_as_it_went(stage: Stage) -> None:
    runner, text = stage.obedient(), order("return context").text or ""
    turns = (Message("user", 'é"\\\n\x00 \u2028 😀'), Message("assistant", ""))
    context = replace(HELLO, text=text, messages=turns)
    assert runner.call(Hook.PROMPT, context) == context
    chunk = ChunkContext("r", "m", 1, text, True, {"a": [1, 2.5, None, {"b": "c"}]}, "user")
    assert runner.call(Hook.CHUNK, chunk) == chunk


def test_a_core_plugin_that_is_late_is_a_fault(stage: Stage) -> None:
    """Nobody can end it; what it made is not used."""
    runner = stage.start(
        hostile("time.sleep(0.05); return context"), tier=Tier.CORE, budget={"call_timeout": 0.01}
    )
    assert stage.endure(runner).kind is FaultKind.TIMEOUT
    serves(runner)
