"""Guesses: found in what was said, verified by the model, dropped where they do not pay."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from inference.engine.drafts import Drafts
from inference.engine.prompt_lookup import PromptLookup
from inference.engine.sequence import Sequence
from inference.engine.step_plan import StepPlan
from inference.protocol import Finished
from tests.inference.engine.harness import Harness, running_engine
from tests.inference.engine.sequences import make_scheduler, make_sequence, run

MAX_TOKENS = 120


def test_what_followed_the_last_tokens_before_is_guessed_again() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 9, 2, 3, 4])
    assert lookup.propose(2) == [5, 6]
    assert lookup.propose(4) == [5, 6, 9, 2]


def test_the_latest_occurrence_and_the_longer_match_win() -> None:
    lookup = PromptLookup([7, 1, 2, 50, 8, 1, 2, 60, 7, 1, 2])
    assert lookup.propose(1) == [50]
    lookup.extend([50, 9, 1, 2])
    assert lookup.propose(1) == [50]


def test_new_tokens_are_not_guessed_from() -> None:
    assert PromptLookup([1, 2, 3, 4]).propose(5) == []
    assert PromptLookup([]).propose(5) == []


def test_a_loop_is_continued_beyond_its_end() -> None:
    assert PromptLookup([1, 2, 3, 1, 2, 3]).propose(7) == [1, 2, 3, 1, 2, 3, 1]
    assert PromptLookup([5, 5, 5]).propose(4) == [5, 5, 5, 5]


def test_guesses_equal_a_search_through_all_tokens() -> None:
    source = random.Random(2)  # noqa: S311
    tokens: list[int] = []
    lookup = PromptLookup()
    for _ in range(400):
        token = source.randrange(6)
        tokens.append(token)
        lookup.extend([token])
        assert lookup.propose(1) == search(tokens)


def search(tokens: list[int]) -> list[int]:
    for size in (3, 2):
        for start in range(len(tokens) - size - 1, -1, -1):
            if tokens[start : start + size] == tokens[-size:]:
                return [tokens[start + size]]
    return []


def make_decoding(prompt: list[int], **params: object) -> Sequence:
    sequence = make_sequence("a", prompt, max_tokens=1000, **params)
    sequence.output_ids = [2]
    return sequence


LOOP = [1, 2, 3] * 10


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.7},
        {"repetition_penalty": 1.1},
        {"presence_penalty": 0.1},
        {"logprobs": 1},
        {"min_tokens": 5},
    ],
)
def test_only_plain_greedy_sequences_get_guesses(params: dict[str, float]) -> None:
    assert Drafts(4).propose(make_decoding([*LOOP, 1], **params)) == ()
    assert Drafts(4).propose(make_decoding([*LOOP, 1], top_p=0.5, seed=3, stop=("x",)))


def test_no_more_is_guessed_than_may_still_be_written() -> None:
    sequence = make_sequence("a", LOOP, max_tokens=3)
    sequence.output_ids = [1]
    assert len(Drafts(8).propose(sequence)) == 1
    sequence.output_ids = [1, 2]
    assert Drafts(8).propose(sequence) == ()


def test_guesses_grow_while_they_are_right_and_shrink_when_not() -> None:
    drafts, sequence = Drafts(8), make_decoding([*LOOP, 1])
    lengths = []
    for num_accepted in (3, 6, 8, 8, 2, 1):
        lengths.append(len(drafts.propose(sequence)))
        drafts.learn(sequence, lengths[-1], min(lengths[-1], num_accepted))
    assert lengths == [3, 6, 8, 8, 8, 3]


def test_wrong_guesses_stop_and_are_tried_again_ever_later() -> None:
    drafts, sequence = Drafts(8), make_decoding([*LOOP, 1])
    tried = []
    for index in range(600):
        # The last tokens are known, so there is always a guess.
        if guess := drafts.propose(sequence):
            tried.append(index)
            drafts.learn(sequence, len(guess), 0)
        sequence.output_ids.append(LOOP[(index + 2) % 3])
    assert len(tried) < 30
    gaps = [after - before for before, after in itertools.pairwise(tried)]
    assert max(gaps) > 200


def test_what_steps_cost_decides_how_right_guesses_must_be() -> None:
    def count_tries(draft_seconds: float) -> int:
        drafts, sequence = Drafts(8), make_decoding([*LOOP, 1])
        for _ in range(50):
            drafts.note_time(0.010, has_drafts=False)
            drafts.note_time(draft_seconds, has_drafts=True)
        count = 0
        for index in range(300):
            if guess := drafts.propose(sequence):
                count += 1
                drafts.learn(sequence, len(guess), index % 2)
            sequence.output_ids.append(LOOP[(index + 2) % 3])
        return count

    assert count_tries(0.0105) > 250
    assert count_tries(0.030) < 50


def test_guessed_rows_are_planned_only_without_prompts() -> None:
    scheduler = make_scheduler()
    sequence = make_sequence("a", 10, max_tokens=100)
    scheduler.add(sequence)
    run(scheduler)
    scheduler.add(make_sequence("b", 10))
    propose = lambda sequence: (5, 6) if sequence.request_id == "a" else ()  # noqa: E731
    plan = run(scheduler, propose)
    assert (len(plan.decodes), len(plan.chunks), plan.verifications) == (1, 1, ())
    plan = scheduler.schedule(propose)
    (row,) = plan.verifications
    assert (row.start, row.token_ids, row.logit_rows) == (11, [sequence.output_ids[-1], 5, 6], 3)
    assert [s.request_id for s in plan.sampled] == ["b", "a", "a", "a"]
    scheduler.advance(plan)
    sequence.output_ids += [5, 77]
    scheduler.accept(row, 2)
    assert sequence.num_computed == sequence.num_tokens - 1 == 13


def repetitive(index: int) -> list[int]:
    """A prompt whose answer tends to repeat it."""
    return [(index + 7 * i) % 20 for i in range(60)]


@pytest.fixture(scope="module")
def unguessed(tiny_model: Path) -> list[str]:
    with running_engine(tiny_model, max_drafts=0) as engine:
        return [ask(engine, index).text for index in range(8)]


def ask(engine: Harness, index: int) -> Finished:
    return engine.ask(repetitive(index), max_tokens=MAX_TOKENS)


def watched_plans(engine: Harness, monkeypatch: pytest.MonkeyPatch) -> list[StepPlan]:
    """The plan of every step from now on, there before the events of its step are."""
    backend = engine.running.backend
    infer, plans = backend.infer, list[StepPlan]()
    monkeypatch.setattr(backend, "infer", lambda plan: plans.append(plan) or infer(plan))
    return plans


def test_texts_are_the_same_with_and_without_guesses(engine: Harness, unguessed: list[str]) -> None:
    answers = [ask(engine, index) for index in range(8)]
    assert [answer.text for answer in answers] == unguessed
    assert all(answer.usage.completion_tokens == MAX_TOKENS for answer in answers)
    stats = engine.engine.stats()
    assert 0 < stats.accepted_drafts_total <= stats.drafted_tokens_total
    # Every accepted guess is a step less.
    assert stats.steps_total < 8 * MAX_TOKENS


def test_perfect_and_hopeless_guesses_change_nothing_either(
    engine: Harness, unguessed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[list[int]] = []
    asked: list[Sequence] = []

    def nothing(sequence: Sequence) -> tuple[int, ...]:
        asked.append(sequence)
        return ()

    def perfect(sequence: Sequence) -> tuple[int, ...]:
        done = len(sequence.output_ids)
        return tuple(answers[index][done : done + 5])

    def hopeless(sequence: Sequence) -> tuple[int, ...]:
        left = sequence.params.max_tokens - len(sequence.output_ids) - 1
        return tuple((token + 1) % 256 for token in perfect(sequence))[:left]

    plans = watched_plans(engine, monkeypatch)
    for propose, expected in ((nothing, MAX_TOKENS - 1), (perfect, 20), (hopeless, MAX_TOKENS - 1)):
        monkeypatch.setattr(engine.engine._drafts, "propose", propose)
        for index, text in enumerate(unguessed):
            plans.clear()
            assert ask(engine, index).text == text
            # How many steps the prompt takes depends on how fast they are; the first token is theirs.
            assert len([plan for plan in plans if not plan.chunks]) == expected
            if propose is nothing:
                answers.append(asked[-1].output_ids)


def test_an_end_in_the_middle_of_right_guesses_ends_there(
    engine: Harness, unguessed: list[str]
) -> None:
    stop = unguessed[0][50:53]
    finished = engine.ask(repetitive(0), max_tokens=MAX_TOKENS, stop=(stop,))
    assert finished.text == unguessed[0][: unguessed[0].index(stop)]


def test_a_busy_batch_gets_no_guesses(engine: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = watched_plans(engine, monkeypatch)
    ids = [engine.send(repetitive(index), max_tokens=60) for index in range(6)]
    for request_id in ids:
        engine.finish(request_id)
    assert all(not plan.verifications for plan in plans if len(plan.decodes) > 2)
