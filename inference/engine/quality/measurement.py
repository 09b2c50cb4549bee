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
from inference.engine.quality.comparison import QualityResult, Scores
from inference.engine.scheduler import PrefillChunk, StepPlan
from inference.engine.sequence import Sequence as EngineSequence
from inference.engine.sequence import SequenceState
from inference.engine.tiling import TILE
from inference.protocol import SamplingParams

NUM_DECODED = 64
# Each row of logits has four bytes per id of the vocabulary: 50 MB a step with 49,152 ids.
_CHUNK = 4 * TILE


class _Window:
    """One window in its slot, and the scores of its positions in the order they are computed.

    The position of a token scores the token after it, so the last one is never computed.
    """

    def __init__(self, token_ids: Sequence[int], slot: int, num_decoded: int) -> None:
        self.token_ids = list(token_ids)
        self.num_positions = len(self.token_ids) - 1
        self.num_prompt = self.num_positions - min(num_decoded, self.num_positions // 2)
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
        self.sequence.slot = slot
        self.sequence.move_to(SequenceState.PREFILLING)

    def record(self, logits: torch.Tensor) -> None:
        """Score the next positions by their logits [positions, vocab]."""
        start = len(self.logprobs) + 1
        targets = torch.tensor(
            self.token_ids[start : start + len(logits)], dtype=torch.int64, device=logits.device
        )
        chosen = logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(-1)
        self.logprobs += chosen.tolist()
        self.top_ids += logits.argmax(-1).tolist()

    def scores(self, start: int, end: int) -> Scores:
        return Scores(tuple(self.logprobs[start:end]), tuple(self.top_ids[start:end]))


def measure(
    backend: BaseBackend,
    served: ServedModel,
    windows: Sequence[Sequence[int]],
    *,
    num_decoded: int = NUM_DECODED,
    progress: Callable[[float], None] = lambda fraction: None,
) -> QualityResult:
    """Score every token of `windows` after each one's first.

    The last `num_decoded` positions of a window, at most half of them, are decoded. Uses the cache's
    slots from 0 on and leaves them zeroed: no other sequence may be running, and the caller is the
    thread that calls `infer`. Raises ValueError where a window is not of 3 to `max_model_len` ids
    that the model has, and what the device raises.
    """
    for token_ids in windows:
        _check(token_ids, served)
    total = sum(len(token_ids) for token_ids in windows)
    result = QualityResult(Scores(), Scores())
    num_done = 0
    size = served.capacity.num_slots
    for start in range(0, len(windows), size):
        group = [
            _Window(token_ids, slot, num_decoded)
            for slot, token_ids in enumerate(windows[start : start + size])
        ]

        def report(group: list[_Window] = group, before: int = num_done) -> None:
            progress((before + sum(len(window.logprobs) for window in group)) / total)

        try:
            with torch.inference_mode():
                for window in group:
                    _prefill(backend, window, report)
                _decode(backend, group, report)
        finally:
            for slot, window in enumerate(group):
                backend.scrub(slot, len(window.token_ids))
        num_done += sum(len(window.token_ids) for window in group)
        for window in group:
            result = QualityResult(
                result.prefilled + window.scores(0, window.num_prompt),
                result.decoded + window.scores(window.num_prompt, window.num_positions),
            )
    progress(1.0)
    return result


def _check(token_ids: Sequence[int], served: ServedModel) -> None:
    longest, vocab_size = served.capacity.max_model_len, served.loaded.files.vocab_size
    if not 3 <= len(token_ids) <= longest:
        raise ValueError(f"a window has {len(token_ids)} tokens, outside 3 to {longest}")
    if not 0 <= min(token_ids) <= max(token_ids) < vocab_size:
        raise ValueError(f"a window has token ids outside 0 to {vocab_size - 1}")


def _prefill(backend: BaseBackend, window: _Window, report: Callable[[], None]) -> None:
    """Compute the positions of the window's prompt, all rows with their logits."""
    for start in range(0, window.num_prompt, _CHUNK):
        end = min(start + _CHUNK, window.num_prompt)
        is_last = end == window.num_prompt
        chunk = PrefillChunk(window.sequence, start, end, is_last, num_logits=end - start)
        window.record(backend.infer(StepPlan(chunks=(chunk,))))
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
        for row, window in enumerate(left):
            window.record(logits[row : row + 1])
            window.sequence.num_computed += 1
        report()
