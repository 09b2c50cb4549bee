"""A start-up check that our attention gives what transformers' own gives, on this model and device.

It costs a few tiny forward passes and catches what reading a config cannot: a family that adds a
position bias, a kernel that is wrong on this device. Better no model than one that talks nonsense.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from inference.engine.attention import ATTENTION_NAME
from inference.engine.detokenizer import TextAssembler
from inference.engine.errors import LoadError, NotPackableError
from inference.engine.loading import LoadedModel
from inference.engine.runner import Runner
from inference.engine.scheduler import PrefillChunk, StepPlan
from inference.engine.sequence import Sequence
from inference.protocol import SamplingParams

logger = logging.getLogger(__name__)

_NUM_PROMPT = 9
_NUM_DECODES = 3
# Largest difference over the spread of the logits. Half precision rounds each layer's result.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.15, torch.float16: 0.15}


def check_attention(
    loaded: LoadedModel,
    runner: Runner,
    slot: int = 0,
    reference: Callable[[list[int]], torch.Tensor] | None = None,
) -> None:
    """Compare one prompt's logits, computed in prefill and decode steps, with transformers'.

    It uses `slot` of the cache. `reference` gives transformers' logits where this process alone
    cannot compute them. Raises NotPackableError where they differ by more than rounding, LoadError
    where they are no numbers.
    """
    token_ids = _test_tokens(loaded)
    ours = _run_in_steps(runner, token_ids, slot)
    theirs = reference(token_ids) if reference is not None else run_reference(loaded, token_ids)
    _check_finite(loaded, theirs)
    difference = _difference(ours, theirs)
    logger.info("attention self-test: relative difference %.1e", difference)
    # NaN compares False, and must not pass.
    dtype = getattr(runner.cache, "dtype", loaded.dtype)
    if not difference <= _TOLERANCE[dtype]:
        raise NotPackableError(
            f"{loaded.files.path}: attention differs from transformers' by {difference:.1e} of the "
            f"logits' spread on {loaded.device}"
        )


def check_serial(loaded: LoadedModel, runner: Runner) -> None:
    """Compare a serial model's steps with one pass over all tokens, and see that it looks back only.

    Raises LoadError where they differ by more than rounding: its cache is wrong, or it is no causal
    language model.
    """
    path, tolerance = loaded.files.path, _TOLERANCE[loaded.dtype]
    token_ids = _test_tokens(loaded)
    try:
        with torch.inference_mode():
            row = torch.tensor([token_ids], device=loaded.device)
            whole = loaded.model(input_ids=row, use_cache=False).logits[0].float()
            prefix = loaded.model(input_ids=row[:, :_NUM_PROMPT], use_cache=False).logits[0].float()
        stepwise = _run_in_steps(runner, token_ids, 0)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        # The model's own code fails on plain input: whatever it raises, it cannot be served.
        raise LoadError(f"{path}: {loaded.files.model_type} does not run: {error}") from error
    _check_finite(loaded, whole)
    if not _difference(prefix[-1], whole[_NUM_PROMPT - 1]) <= tolerance:
        raise LoadError(f"{path}: its tokens attend to later ones: not a causal language model")
    difference = _difference(stepwise, whole[-1])
    logger.info("serial self-test: relative difference %.1e", difference)
    if not difference <= tolerance:
        raise LoadError(
            f"{path}: token by token, {loaded.files.model_type} differs by {difference:.1e} of the "
            "logits' spread from one pass over all tokens: it is not served"
        )


def _test_tokens(loaded: LoadedModel) -> list[int]:
    vocab_size = loaded.files.vocab_size
    return [(31 * index + 5) % vocab_size for index in range(_NUM_PROMPT + _NUM_DECODES)]


def _difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference over the spread of `theirs`."""
    spread = float((theirs - theirs.mean()).abs().max())
    return float((ours - theirs).abs().max()) / max(spread, 1e-6)


def _check_finite(loaded: LoadedModel, logits: torch.Tensor) -> None:
    if not bool(logits.isfinite().all()):
        raise LoadError(
            f"{loaded.files.path}: the logits are not finite numbers: the weights hold NaN or "
            f"infinity, or are beyond {str(loaded.dtype).removeprefix('torch.')}"
        )


def _run_in_steps(runner: Runner, token_ids: list[int], slot: int) -> torch.Tensor:
    sequence = Sequence(
        request_id="self-test",
        prompt_ids=token_ids[:_NUM_PROMPT],
        params=SamplingParams(),
        text=TextAssembler(lambda ids: ""),
        now=0.0,
        timeout=0.0,
    )
    sequence.slot = slot
    logits = runner.run(StepPlan(chunks=(PrefillChunk(sequence, 0, _NUM_PROMPT, is_last=True),)))
    for position in range(_NUM_PROMPT, len(token_ids)):
        sequence.output_ids.append(token_ids[position])
        sequence.num_computed = position
        logits = runner.run(StepPlan(decodes=(sequence,)))
    runner.cache.scrub(slot, len(token_ids))
    return logits[0]


def run_reference(loaded: LoadedModel, token_ids: list[int]) -> torch.Tensor:
    """The last token's logits [vocab] by transformers' own attention."""
    model = loaded.model
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            row = torch.tensor([token_ids], device=loaded.device)
            logits: torch.Tensor = model(input_ids=row, use_cache=False).logits
            return logits[0, -1].float()
    finally:
        model.set_attn_implementation(ATTENTION_NAME)
