"""CUDA graphs of pure decode steps: one launch in place of hundreds.

A graph is a recording of kernels over fixed addresses. Each batch size has one, with input buffers
of its own; a step fills them with one copy, pads itself up to the size and replays. Padded rows
belong to nobody: they attend to one token of the scratch page and write there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from inference.engine.paged.attention import PagedStep
from inference.engine.paged.buckets import bucket_sizes, choose_bucket
from inference.engine.paged.inputs import InputShape, InputStaging, StepInputs
from inference.engine.paged.rows import PagedRows, pad_decodes

logger = logging.getLogger(__name__)

Forward = Callable[[PagedStep], torch.Tensor]
# Runs and records a step in a pool of memory; the graph and its logits.
Record = Callable[[Forward, PagedStep, Any], tuple[Any, torch.Tensor]]
# Kernels choose and load themselves in the first runs, which must not be recorded.
_NUM_WARM_UPS = 2


@dataclass(frozen=True, slots=True)
class _Graph:
    inputs: StepInputs
    logits: torch.Tensor  # [bucket, vocab]
    replay: Callable[[], Any]


class DecodeGraphs:
    """The recorded sizes. `replay` gives None for a step that none of them fits."""

    def __init__(self, device: torch.device, page: int, num_columns: int) -> None:
        """`num_columns` is the pages of the longest sequence."""
        self._device = device
        self._page = page
        self._num_columns = num_columns
        self._staging = InputStaging(device)
        self._graphs: dict[int, _Graph] = {}
        self._sizes: tuple[int, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """The batch sizes that are recorded."""
        return self._sizes

    def capture(
        self, forward: Forward, num_slots: int, progress: Callable[[float], None] | None = None
    ) -> None:
        """Record `forward` at every size up to `num_slots`, the largest first.

        They share one pool of memory, so the largest decides how much it is. Raises what torch
        raises; nothing is recorded then.
        """
        sizes = bucket_sizes(num_slots)
        graphs: dict[int, _Graph] = {}
        record = make_recorder(self._device)
        pool = None
        for index, size in enumerate(reversed(sizes)):
            inputs = self._idle_inputs(size)
            step = PagedStep(self._idle_rows(size), inputs)
            graph, logits = record(forward, step, pool)
            pool = pool or graph.pool()
            graphs[size] = _Graph(inputs, logits, graph.replay)
            if progress is not None:
                progress((index + 1) / len(sizes))
        self.adopt(graphs)

    def adopt(self, graphs: dict[int, _Graph]) -> None:
        """Serve these from now on."""
        self._graphs = graphs
        self._sizes = tuple(sorted(graphs))

    def drop(self) -> None:
        """Forget all recordings, whose memory then is free again."""
        self.adopt({})

    def replay(self, rows: PagedRows) -> torch.Tensor | None:
        """Logits [bucket, vocab], of which the first `rows.num_logits` count; None: no graph fits.

        They are overwritten by the next replay.
        """
        if not rows.is_pure_decode or rows.num_pages > self._num_columns:
            return None
        size = choose_bucket(len(rows.counts), self._sizes)
        if size is None:
            return None
        graph = self._graphs[size]
        self._staging.refill(pad_decodes(rows, size, self._page), graph.inputs)
        graph.replay()
        return graph.logits

    def _idle_rows(self, size: int) -> PagedRows:
        nobody = PagedRows([0], [0], [0], [0], [1], [1], [[0]], num_decodes=1, num_logits=1)
        return pad_decodes(nobody, size, self._page)

    def _idle_inputs(self, size: int) -> StepInputs:
        shape = InputShape(size, size, size, self._num_columns)
        buffer = torch.empty(shape.num_bytes, dtype=torch.uint8, device=self._device)
        inputs = StepInputs.over(buffer, shape)
        self._staging.refill(self._idle_rows(size), inputs)
        return inputs


def make_recorder(device: torch.device) -> Record:
    """Records on a stream beside the main one: recordings that share memory must share a stream."""
    stream = torch.cuda.Stream(device)

    def record(forward: Forward, step: PagedStep, pool: Any) -> tuple[Any, torch.Tensor]:
        with torch.inference_mode(), torch.cuda.device(device):
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                for _ in range(_NUM_WARM_UPS):
                    forward(step)
            torch.cuda.synchronize(device)
            graph = torch.cuda.CUDAGraph()
            # What other threads do on the device meanwhile is none of the recording's business.
            with torch.cuda.graph(
                graph, pool=pool, stream=stream, capture_error_mode="thread_local"
            ):
                logits = forward(step)
        return graph, logits

    return record


def try_capture(
    graphs: DecodeGraphs,
    forward: Forward,
    num_slots: int,
    progress: Callable[[float], None] | None = None,
) -> bool:
    """Record all sizes; whether it went well. Where not, one warning says why."""
    try:
        graphs.capture(forward, num_slots, progress)
    except Exception as error:
        # Whatever a model's code does that cannot be recorded, it still runs step by step.
        logger.debug("recording failed", exc_info=True)
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        logger.warning("decode steps are not recorded as graphs: %s; they run eagerly", reason)
        graphs.drop()
        return False
    logger.info("decode steps are recorded at batch sizes %s", ", ".join(map(str, graphs.sizes)))
    return True
