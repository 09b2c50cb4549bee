"""Runs a known text through the runner that serves, and notes how well each token was foreseen.

Every window's beginning is computed as a prompt is, in chunks. Its end is computed as an answer is:
one token a step, all windows side by side. What is judged is therefore what callers get: kernels,
caches and masks of both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from inference.engine.backends.base import BaseBackend, ServedModel
from inference.engine.detokenizer import TextAssembler
from inference.engine.errors import EngineError
from inference.engine.kv_cache.base import CacheAccounting
from inference.engine.kv_cache.slots import SlotPool
from inference.engine.quality.comparison import QualityResult, Scores
from inference.engine.sequence import Sequence as EngineSequence
from inference.engine.sequence import SequenceState
from inference.engine.step_plan import PrefillChunk, StepPlan
from inference.engine.tiling import TILE
from inference.protocol import SamplingParams

NUM_DECODED = 64
# Each row of logits has four bytes per id of the vocabulary: 50 MB a step with 49,152 ids.
_CHUNK = 4 * TILE


class _Window:
    """One window in its slot, and the scores of its positions in the order they are computed.

    The position of a token scores the token after it, so the last one is never computed.
    """

    def __init__(
        self, token_ids: Sequence[int], slot: int, num_decoded: int, *, as_prompt: bool
    ) -> None:
        self.token_ids = list(token_ids)
        self.num_positions = len(self.token_ids) - 1
        self.border = self.num_positions - min(num_decoded, self.num_positions // 2)
        self.num_prompt = self.num_positions if as_prompt else self.border
        self.logprobs: list[float] = []
        self.top_ids: list[int] = []
        self.sequence = EngineSequence(
            request_id=f"quality-{slot}",
            prompt_ids=self.token_ids[: self.num_prompt],
            params=SamplingParams(max_tokens=max(1, num_decoded)),
            text=TextAssembler(lambda ids: ""),
            now=0.0,
            timeout=0.0,
        )
        self.slot = self.sequence.slot = slot
        self.sequence.move_to(SequenceState.PREFILLING)

    def targets(self, num_positions: int) -> list[int]:
        """The tokens that the next so many positions should foresee."""
        start = len(self.logprobs) + 1
        return self.token_ids[start : start + num_positions]

    def record(self, logprobs: list[float], top_ids: list[int]) -> None:
        self.logprobs += logprobs
        self.top_ids += top_ids

    def scores(self, start: int, end: int) -> Scores:
        return Scores(tuple(self.logprobs[start:end]), tuple(self.top_ids[start:end]))


def measure(
    backend: BaseBackend,
    served: ServedModel,
    windows: Sequence[Sequence[int]],
    *,
    places: CacheAccounting | None = None,
    num_decoded: int = NUM_DECODED,
    as_prompt: bool = False,
    progress: Callable[[float], None] = lambda fraction: None,
) -> QualityResult:
    """Score every token of `windows` after each one's first.

    The last `num_decoded` positions of a window, at most half of them, are decoded; with `as_prompt`
    they are computed in chunks as well, for a reference that owes nothing to decoding. As many windows
    as `places` has room for run at once; their slots are zeroed and given back. `places` is whoever
    hands out the cache's places now; None where nobody else uses the cache. The caller is the thread
    that calls `infer`, between two steps.
    Raises ValueError where a window is not of 3 to `max_model_len` ids that the model has,
    EngineError where `places` has no room for one, and what the device raises.
    """
    for token_ids in windows:
        _check(token_ids, served)
    capacity = served.capacity
    accounting = places or served.accounting or SlotPool(capacity.num_slots, capacity.slot_len)
    total = sum(len(token_ids) - 1 for token_ids in windows)
    result = QualityResult(Scores(), Scores())
    left = list(windows)
    while left:
        group = [
            _Window(token_ids, slot, num_decoded, as_prompt=as_prompt)
            for slot, token_ids in zip(_take_slots(accounting, left), left, strict=False)
        ]
        del left[: len(group)]
        num_before = len(result.scores.logprobs)

        def report(group: list[_Window] = group, num_before: int = num_before) -> None:
            progress((num_before + sum(len(window.logprobs) for window in group)) / total)

        try:
            _compute(backend, group, report)
        finally:
            for window in group:
                backend.scrub(window.slot, window.num_positions)
                accounting.free(window.slot)
        for window in group:
            result = QualityResult(
                result.prefilled + window.scores(0, window.border),
                result.decoded + window.scores(window.border, window.num_positions),
            )
    return result


def _check(token_ids: Sequence[int], served: ServedModel) -> None:
    longest, vocab_size = served.capacity.max_model_len, served.loaded.files.vocab_size
    if not 3 <= len(token_ids) <= longest:
        raise ValueError(f"a window has {len(token_ids)} tokens, outside 3 to {longest}")
    if not 0 <= min(token_ids) <= max(token_ids) < vocab_size:
        raise ValueError(f"a window has token ids outside 0 to {vocab_size - 1}")


def _take_slots(accounting: CacheAccounting, windows: Sequence[Sequence[int]]) -> list[int]:
    """Slots for the first of `windows`, as many as find a place now."""
    slots: list[int] = []
    for token_ids in windows:
        place = accounting.allocate(len(token_ids))
        if place is None:
            break
        slots.append(place.slot)
    if not slots:
        raise EngineError(f"the cache has no room for {len(windows[0])} tokens")
    return slots


@torch.inference_mode()
def _compute(backend: BaseBackend, group: list[_Window], report: Callable[[], None]) -> None:
    for window in group:
        _prefill(backend, window, report)
    _decode(backend, group, report)


def _prefill(backend: BaseBackend, window: _Window, report: Callable[[], None]) -> None:
    """Compute the positions of the window's prompt, all rows with their logits."""
    for start in range(0, window.num_prompt, _CHUNK):
        end = min(start + _CHUNK, window.num_prompt)
        is_last = end == window.num_prompt
        chunk = PrefillChunk(window.sequence, start, end, is_last, num_logits=end - start)
        logits = backend.infer(StepPlan(chunks=(chunk,)))
        window.record(*_score(logits, window.targets(end - start)))
        window.sequence.num_computed = end
        report()
    window.sequence.move_to(SequenceState.DECODING)


def _decode(backend: BaseBackend, group: list[_Window], report: Callable[[], None]) -> None:
    """Compute what is left of all windows, one position of each a step."""
    while left := [w for w in group if w.sequence.num_computed < w.num_positions]:
        for window in left:
            # What a greedy caller would have been given is replaced by what the text says.
            window.sequence.output_ids.append(window.token_ids[window.sequence.num_computed])
        logits = backend.infer(StepPlan(decodes=tuple(window.sequence for window in left)))
        targets = [window.targets(1)[0] for window in left]
        for window, logprob, top_id in zip(left, *_score(logits, targets), strict=True):
            window.record([logprob], [top_id])
            window.sequence.num_computed += 1
        report()


def _score(logits: torch.Tensor, targets: list[int]) -> tuple[list[float], list[int]]:
    """Log-probabilities of `targets`, and the likeliest ids, by the rows of logits [rows, vocab]."""
    ids = torch.tensor(targets, dtype=torch.int64, device=logits.device)
    chosen = logits.gather(1, ids[:, None])[:, 0] - logits.logsumexp(-1)
    return chosen.tolist(), logits.argmax(-1).tolist()
