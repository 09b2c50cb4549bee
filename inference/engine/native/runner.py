"""Runs steps through the compiled kernels: every row of a plan in one call.

The first token of an answer sets its course and costs one row of hundreds: the last row of a prompt
is computed once more with twice the bits in its activations, and the token is chosen from that. A
sequence's first row has them too: all later ones look at it (Xiao et al., "Efficient Streaming Language
Models with Attention Sinks", 2023), and its activations are the largest.

A row's numbers depend on its own sequence alone, bit for bit: not on what else runs, not on where
its prompt was cut, not on whether a token came from a prompt or was decoded.
"""

from __future__ import annotations

from array import array

import torch

from inference.engine.kv_cache.base import KVCache
from inference.engine.native.artifact import Artifact
from inference.engine.native.kv_cache import NativeKVCache
from inference.engine.native.library import (
    ACTIVATIONS,
    FINE,
    PLAIN,
    REPEATED,
    TABLE_TYPES,
    KernelLibrary,
    LayerStruct,
    LinearStruct,
    ModelStruct,
    StepStruct,
)
from inference.engine.scheduler import slot_of
from inference.engine.sequence import Sequence
from inference.engine.step_plan import PrefillChunk, StepPlan
from inference.engine.tiling import TILE

_NORMS = (
    "norm_before_attention", "norm_after_attention", "norm_before_mlp", "norm_after_mlp",
    "query_norm", "key_norm",
)  # fmt: skip


class NativeRunner:
    """A packed model with its cache. One thread calls it."""

    supports_drafts = True
    rounds_alike = True

    def __init__(
        self, library: KernelLibrary, artifact: Artifact, cache: NativeKVCache, num_threads: int
    ) -> None:
        """Raises MemoryError where the kernels cannot reserve their buffers."""
        self._cache = cache
        self._artifact = artifact
        # Whatever the structures point at.
        self._alive: list[object] = [artifact, cache]
        self._vocab = artifact.shape.vocab
        self._logits = torch.empty(0, self._vocab)
        self._hidden = torch.empty(0, artifact.shape.hidden)
        self._session = library.open(self._model(), num_threads)

    @property
    def cache(self) -> KVCache:
        """The stored keys and values."""
        return self._cache

    @property
    def hidden_size(self) -> int | None:
        return self._artifact.shape.hidden

    @property
    def hidden(self) -> torch.Tensor:
        return self._hidden

    def close(self) -> None:
        """End the kernels' threads; the runner computes nothing any more."""
        self._session.close()

    def run(self, plan: StepPlan) -> torch.Tensor:
        """Compute a step; the logits [rows that ask for them, vocab], valid until the next call.

        Raises MemoryError where a buffer could not grow.
        """
        rows = _Rows(plan)
        num_logits = len(rows.logit_rows)
        if self._logits.shape[0] < num_logits:
            self._logits = torch.empty(num_logits, self._vocab)
        self._hidden = torch.empty(len(rows.hidden_rows), self._artifact.shape.hidden)
        self._session.step(rows.to_struct(self._logits, self._hidden))
        return self._logits[:num_logits]

    def _model(self) -> ModelStruct:
        shape = self._artifact.shape
        tensors = self._artifact.tensors
        layers = (LayerStruct * shape.num_layers)()
        tables = self._rope_tables()
        for index, layer in enumerate(layers):
            for role in ("qkv", "output", "gate_up", "down"):
                setattr(layer, role, self._linear(f"{index}.{role}"))
            for role in _NORMS:
                if (weight := tensors.get(f"{index}.{role}")) is not None:
                    setattr(layer, role, weight.data_ptr())
            if name := shape.ropes[index]:
                layer.cosines, layer.sines = (table.data_ptr() for table in tables[name])
            layer.window = shape.windows[index]
        embeddings = tensors["embeddings"]
        self._alive.append(layers)
        return ModelStruct(
            num_layers=shape.num_layers,
            hidden=shape.hidden,
            intermediate=shape.intermediate,
            vocab=shape.vocab,
            num_heads=shape.num_heads,
            num_kv_heads=shape.num_kv_heads,
            head_dim=shape.head_dim,
            rotary_dim=shape.rotary_dim,
            num_blocks=self._cache.slot_len // TILE,
            activation=ACTIVATIONS[shape.activation],
            table_type=TABLE_TYPES[embeddings.dtype],
            wide_qk_norm=int(shape.wide_qk_norm),
            epsilon=shape.epsilon,
            query_scale=shape.query_scale,
            softcap=shape.softcap,
            logit_softcap=shape.logit_softcap,
            embedding_factor=shape.embedding_factor,
            residual_factor=shape.residual_factor,
            logit_factor=shape.logit_factor,
            embeddings=embeddings.data_ptr(),
            final_norm=tensors["final_norm"].data_ptr(),
            layers=layers,
            cache=self._cache.blocks.data_ptr(),
            head=self._linear("head"),
        )

    def _linear(self, name: str) -> LinearStruct:
        bits, n, k, n_real, factor = self._artifact.shape.linears[name]
        bias = self._artifact.tensors.get(f"{name}.bias")
        return LinearStruct(
            bits=bits,
            n=n,
            k=k,
            n_real=n_real,
            factor=factor,
            data=self._artifact.tensors[name].data_ptr(),
            bias=bias.data_ptr() if bias is not None else None,
        )

    def _rope_tables(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """By name: cosines and sines [positions, rotary dim / 2], computed as transformers does."""
        shape = self._artifact.shape
        half = shape.rotary_dim // 2
        positions = torch.arange(self._cache.slot_len, dtype=torch.float32)[:, None]
        tables = {}
        for name, factor in shape.rope_factors.items():
            frequencies = self._artifact.tensors[f"inv_freq.{name}"].flatten()[:half]
            angles = positions * frequencies
            tables[name] = (angles.cos() * factor, angles.sin() * factor)
        self._alive.append(tables)
        return tables


def _bits_kept(position: int) -> int:
    return FINE if position == 0 else PLAIN


class _Rows:
    """A plan's tokens as arrays of 32-bit integers."""

    def __init__(self, plan: StepPlan) -> None:
        self.tokens, self.positions = array("i"), array("i")
        self.slots, self.logit_rows = array("i"), array("i")
        self.fine, self.hidden_rows = array("i"), array("i")
        for sequence in plan.decodes:
            position = sequence.num_computed
            self.logit_rows.append(len(self.tokens))
            self.tokens.extend(sequence.tokens(position, position + 1))
            self.positions.append(position)
            self.slots.append(slot_of(sequence))
            self.fine.append(_bits_kept(position))
        for rows in plan.verifications:
            self.tokens.extend(rows.token_ids)
            self._place(rows.sequence, rows.start, rows.end, rows.logit_rows)
        for chunk in plan.chunks:
            self._add_chunk(chunk)

    def _add_chunk(self, chunk: PrefillChunk) -> None:
        first = len(self.tokens)
        self.tokens.extend(chunk.sequence.tokens(chunk.start, chunk.end))
        if chunk.sequence.pool is not None:
            self.hidden_rows.extend(range(first, len(self.tokens)))
        is_answer_start = chunk.is_sampled and not chunk.sequence.output_ids
        if not is_answer_start or chunk.num_logits is not None:
            self._place(chunk.sequence, chunk.start, chunk.end, chunk.logit_rows)
            return
        # The last row of those with logits is the fine one.
        self._place(chunk.sequence, chunk.start, chunk.end, 0)
        self.logit_rows.extend(range(first, first + chunk.logit_rows - 1))
        self.tokens.append(self.tokens[-1])
        self._place(chunk.sequence, chunk.end - 1, chunk.end, 1)
        self.fine[-1] = REPEATED

    def _place(self, sequence: Sequence, start: int, end: int, num_logits: int) -> None:
        """Positions and slot of the rows added last, and which of them need logits."""
        self.positions.extend(range(start, end))
        self.slots.extend([slot_of(sequence)] * (end - start))
        self.fine.extend(_bits_kept(position) for position in range(start, end))
        self.logit_rows.extend(range(len(self.tokens) - num_logits, len(self.tokens)))

    def to_struct(self, logits: torch.Tensor, hidden: torch.Tensor) -> StepStruct:
        """The structure; this object and both tensors must outlive its use."""
        return StepStruct(
            num_rows=len(self.tokens),
            num_logit_rows=len(self.logit_rows),
            tokens=self.tokens.buffer_info()[0],
            positions=self.positions.buffer_info()[0],
            slots=self.slots.buffer_info()[0],
            fine=self.fine.buffer_info()[0],
            logit_rows=self.logit_rows.buffer_info()[0],
            logits=logits.data_ptr(),
            hidden_rows=self.hidden_rows.buffer_info()[0],
            hidden=hidden.data_ptr(),
            num_hidden_rows=len(self.hidden_rows),
        )
