"""What one step computes, as the scheduler says it and the runners read it (no torch)."""

from __future__ import annotations

from dataclasses import dataclass

from inference.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """Positions `start` to `end` (exclusive) of a sequence. `start` is a multiple of TILE.

    After the last chunk a token is sampled, unless the sequence ends with its prompt. `num_logits`
    asks for the logits of that many of the chunk's last rows (None: of the one that is sampled);
    `is_scored` chunks ask for all, each row to tell how well it foresaw the token after it.
    """

    sequence: Sequence
    start: int
    end: int
    is_last: bool
    num_logits: int | None = None
    is_scored: bool = False

    @property
    def is_sampled(self) -> bool:
        """Whether a token is sampled after it."""
        return self.is_last and not self.sequence.is_prompt_only

    @property
    def logit_rows(self) -> int:
        """How many of the chunk's last rows need logits."""
        if self.is_scored:
            return self.end - self.start
        return int(self.is_sampled) if self.num_logits is None else self.num_logits


@dataclass(frozen=True, slots=True)
class Verification:
    """Several decode rows of one sequence: its next token and `draft_ids` that may follow it.

    Row i is position `start` + i and attends to all positions up to its own, exactly as if the rows
    were decoded one step after the other. The logits of all rows come back, or those of the last
    `num_logits` rows. Only for runners with `supports_drafts`.
    """

    sequence: Sequence
    start: int
    draft_ids: tuple[int, ...]
    num_logits: int | None = None

    @property
    def token_ids(self) -> list[int]:
        """The tokens to feed, one per row."""
        return [*self.sequence.tokens(self.start, self.start + 1), *self.draft_ids]

    @property
    def num_rows(self) -> int:
        return 1 + len(self.draft_ids)

    @property
    def end(self) -> int:
        """The position behind the last row."""
        return self.start + self.num_rows

    @property
    def logit_rows(self) -> int:
        """How many of the last rows need logits."""
        return self.num_rows if self.num_logits is None else self.num_logits


@dataclass(frozen=True, slots=True)
class PrefixCopy:
    """The first `num_tokens` of slot `source` are copied to the sequence's slot before the step."""

    sequence: Sequence
    source: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step's work. `started` are the sequences that left the waiting queue for the first time.

    Rows of tokens and of logits come in the order decodes, verifications, chunks. `stranded` are
    sequences that fit nowhere, even alone: they must be failed; they are no part of the work.
    """

    decodes: tuple[Sequence, ...] = ()
    chunks: tuple[PrefillChunk, ...] = ()
    started: tuple[Sequence, ...] = ()
    verifications: tuple[Verification, ...] = ()
    copies: tuple[PrefixCopy, ...] = ()
    stranded: tuple[Sequence, ...] = ()

    @property
    def sampled(self) -> tuple[Sequence, ...]:
        """Whose the logits are to sample from, row by row: a sequence with drafts appears once per row."""
        rows = self.sampled_before_chunks
        if self.chunks:
            rows += tuple(chunk.sequence for chunk in self.chunks if chunk.is_sampled)
        return rows

    @property
    def sampled_before_chunks(self) -> tuple[Sequence, ...]:
        """The part of `sampled` that decodes."""
        rows = self.decodes
        for verification in self.verifications:
            rows += (verification.sequence,) * verification.logit_rows
        return rows

    @property
    def pooled(self) -> tuple[PrefillChunk, ...]:
        """The chunks whose last hidden states are wanted."""
        return tuple(chunk for chunk in self.chunks if chunk.sequence.pool is not None)

    @property
    def pooled_rows(self) -> list[int]:
        """Which rows of tokens those chunks are."""
        rows: list[int] = []
        first = len(self.decodes) + sum(item.num_rows for item in self.verifications)
        for chunk in self.chunks:
            end = first + chunk.end - chunk.start
            if chunk.sequence.pool is not None:
                rows += range(first, end)
            first = end
        return rows

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        """All whose tokens are computed."""
        verified = tuple(verification.sequence for verification in self.verifications)
        return self.decodes + verified + tuple(chunk.sequence for chunk in self.chunks)

    @property
    def num_rows(self) -> int:
        """Tokens that are computed."""
        verified = sum(verification.num_rows for verification in self.verifications)
        return len(self.decodes) + verified + sum(c.end - c.start for c in self.chunks)

    @property
    def has_work(self) -> bool:
        return bool(self.decodes or self.verifications or self.chunks)
