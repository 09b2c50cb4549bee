"""One sequence at a time, through the model's own forward pass and its own cache.

For models that the packed row cannot serve: recurrent and hybrid ones, those with position biases or
ways of attending of their own. It is `generate()`'s loop taken apart, so that a step here is one
token as everywhere else: sampling, cancelling and time limits are the engine's.

The cache is known by the tokens that went into it. A plan that goes on by one token takes one step;
anything else (another sequence, one that was preempted, a step that failed) computes the sequence
anew from its tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence as SequenceOf
from typing import Any

import torch

from inference.engine.hidden_states import HiddenStates
from inference.engine.kv_cache.base import KVCache
from inference.engine.kv_cache.slots import SlotPool
from inference.engine.scheduler import StepPlan
from inference.engine.sequence import Sequence


class SerialAccounting(SlotPool):
    """One place, whose contents are nobody else's: a recurrent state has no beginning to share."""

    def __init__(self, max_model_len: int) -> None:
        super().__init__(1, max_model_len)

    def publish(self, slot: int, keys: SequenceOf[bytes]) -> None:
        """Nothing is published, so nothing is ever found."""


class SerialCache(KVCache):
    """What the model keeps of the one sequence: `owner`'s tokens `token_ids`, in `state`."""

    def __init__(self) -> None:
        self.owner = ""
        self.token_ids: list[int] = []
        # The keyword arguments that carry it from one forward pass to the next.
        self.state: dict[str, Any] = {}

    @property
    def num_bytes(self) -> int:
        """Bytes held now: the model grows its cache as it goes."""
        return sum(tensor.nbytes for tensor in _tensors(self.state))

    def scrub(self, slot: int, num_tokens: int) -> None:
        self.drop()

    def drop(self) -> None:
        """Forget the sequence; the next step computes it anew."""
        self.owner, self.token_ids, self.state = "", [], {}

    def release(self, slots: SequenceOf[int]) -> int:
        num_bytes = self.num_bytes
        self.drop()
        return num_bytes


class SerialRunner:
    """Owns the model and the cache of one sequence. One thread calls it."""

    def __init__(self, model: Any, device: torch.device, vocab_size: int) -> None:
        self._model = model
        self._device = device
        self._vocab_size = vocab_size
        self._keeps_rows = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.cache = SerialCache()
        self._states = HiddenStates(model, device)

    @property
    def hidden_size(self) -> int | None:
        return self._states.size

    @property
    def hidden(self) -> torch.Tensor:
        return self._states.rows

    def run(self, plan: StepPlan) -> torch.Tensor:
        """Compute the plan's one sequence; its logits [rows that ask for them, vocab], float32.

        A chunk that is not the last computes nothing: the whole prompt runs with the last one, since
        a recurrent state takes its prompt in one piece. Raises what the model raises, and then the
        cache is empty; RuntimeError for a plan of several sequences.
        """
        if len(plan.sequences) > 1:
            raise RuntimeError("a serial model computes one sequence at a time")
        if plan.decodes:
            self._states.expect([])
            sequence = plan.decodes[0]
            return self._compute(sequence, sequence.num_computed + 1, 1)
        chunk = plan.chunks[0]
        is_pooled = chunk.is_last and chunk.sequence.pool is not None
        self._states.expect(list(range(chunk.end)) if is_pooled else [])
        num_rows = sum(chunk.logit_rows for chunk in plan.chunks)
        if num_rows == 0 and not is_pooled:
            return torch.empty(0, self._vocab_size, device=self._device)
        logits = self._compute(chunk.sequence, chunk.end, max(1, num_rows))
        return logits[:num_rows]

    def _compute(self, sequence: Sequence, end: int, num_rows: int) -> torch.Tensor:
        token_ids = sequence.tokens(0, end)
        cache = self.cache
        is_next = (
            cache.owner == sequence.request_id
            and len(cache.token_ids) == end - 1
            and cache.token_ids == token_ids[:-1]
            and num_rows == 1
        )
        if not is_next:
            cache.drop()
        try:
            logits = self._forward(token_ids, num_rows)
        except BaseException:
            # Half a state is worse than none.
            cache.drop()
            raise
        cache.owner, cache.token_ids = sequence.request_id, token_ids
        return logits

    def _forward(self, token_ids: list[int], num_rows: int) -> torch.Tensor:
        """One forward pass over what is not in the cache yet; the logits of the last rows."""
        is_first = not self.cache.state
        row = torch.tensor([token_ids], device=self._device)
        keywords: dict[str, Any] = {"logits_to_keep": num_rows} if self._keeps_rows else {}
        with torch.inference_mode():
            inputs = self._model.prepare_inputs_for_generation(
                row,
                next_sequence_length=None if is_first else 1,
                attention_mask=torch.ones_like(row),
                is_first_iteration=is_first,
                use_cache=True,
                **self.cache.state,
            )
            outputs = self._model(**{**inputs, **keywords, "return_dict": True})
            carried = self._model._update_model_kwargs_for_generation(outputs, {})
            self.cache.state = carried
            logits: torch.Tensor = outputs.logits[0, -num_rows:, : self._vocab_size]
            return logits.float()


def _tensors(value: Any, depth: int = 6) -> list[torch.Tensor]:
    """The tensors inside a cache object, whose classes differ from family to family."""
    if isinstance(value, torch.Tensor):
        return [value]
    if depth == 0:
        return []
    if isinstance(value, dict):
        inside: list[Any] = list(value.values())
    elif isinstance(value, list | tuple):
        inside = list(value)
    else:
        inside = list(getattr(value, "__dict__", {}).values())
    return [tensor for item in inside for tensor in _tensors(item, depth - 1)]
