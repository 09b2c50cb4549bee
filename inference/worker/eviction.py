"""Which engines go so that another model finds room: those that were used longest ago, and never one that
is at work, pinned, or the default model's.

First it is worked out from headers what the model needs at least; where its engine finds that even so
there was too little, one more goes, and it tries again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from inference.memory_plan import LEAST_KV_BYTES, LEAST_WEIGHT_BYTES, least_memory
from inference.model_files import ModelFilesError
from inference.model_store import read_facts
from inference.protocol import Load
from inference.states import ModelState
from inference.worker.memory_share import held_bytes
from inference.worker.remote.target import RemoteLoad
from inference.worker.seat import Seat
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.memory import format_gib

#: Seconds without a request before an engine may go: somebody may just be coming to it.
LEAST_IDLE = 1.0


@dataclass(frozen=True, slots=True)
class Eviction:
    """An engine that goes; `idle_for` are the seconds since its last request."""

    slug: str
    generation: int
    idle_for: float
    made_room_for: str


class RoomKeeper:
    """Keeps track of who waits for whose memory. Its owner's lock guards it.

    `protected` are the models that never go; `favoured` those that go last, since people want them.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.protected: frozenset[str] = frozenset()
        self.favoured: frozenset[str] = frozenset()
        self._waiting: dict[str, frozenset[str]] = {}

    def is_waiting(self, slug: str, seats: Mapping[str, Seat]) -> bool:
        """Whether engines that go for `slug` are still there."""
        return any(
            name in seats and seats[name].process.is_leaving
            for name in self._waiting.get(slug, frozenset())
        )

    def has_waited(self, slug: str) -> bool:
        """Whether room was made for `slug`, once: it tries now with what there is."""
        return self._waiting.pop(slug, None) is not None

    def make_room(
        self, slug: str, load: Load | RemoteLoad, seats: Mapping[str, Seat]
    ) -> list[str] | None:
        """Whose engines must end before `load` is begun; None where it can begin now.

        The list is empty where those that end already are enough.
        """
        if self._limit is None or isinstance(load, RemoteLoad):
            return None
        others = {name: seat for name, seat in seats.items() if name != slug}
        lacking = _least(load) - (self._limit - _held(others.values()))
        if lacking <= 0:
            return None
        leaving = [name for name, seat in others.items() if seat.process.is_leaving]
        going: list[str] = []
        for name in (*leaving, *self.candidates(slug, seats)):
            lacking -= held_bytes(others[name].process)
            going.append(name)
            if lacking <= 0:
                self._waiting[slug] = frozenset(going)
                return [name for name in going if name not in leaving]
        return None  # all of them together are too few: the engine will say so with its figures

    def one_more(self, slug: str, seats: Mapping[str, Seat]) -> list[str]:
        """Where the last engine of `slug` found too little memory: the next one to go, if any."""
        seat = seats.get(slug)
        if seat is None or not _lacked_memory(seat):
            return []
        chosen = self.candidates(slug, seats)[:1]
        if chosen:
            self._waiting[slug] = frozenset(chosen)
        return chosen

    def candidates(self, slug: str, seats: Mapping[str, Seat]) -> list[str]:
        """Who may go, in that order."""
        found = [
            name
            for name, seat in seats.items()
            if name != slug
            and name not in self.protected
            and not seat.process.is_leaving
            and seat.is_idle_for(LEAST_IDLE)
            and held_bytes(seat.process) > 0
        ]
        return sorted(
            found, key=lambda name: (name in self.favoured, -seats[name].process.idle_for)
        )

    def explain(self, slug: str, seats: Mapping[str, Seat]) -> str:
        """Who holds memory and why it stays, for whom there was none left; may be empty."""
        held = []
        for name, seat in sorted(seats.items()):
            if name == slug or seat.process.state is not ModelState.READY:
                continue
            size = f"{format_gib(held_bytes(seat.process))} GiB"
            why = "to stay" if name in self.protected else "in use"
            held.append(f"{name} ({size}, {why})")
        return f"Loaded: {', '.join(held)}." if held else ""


def _lacked_memory(seat: Seat) -> bool:
    error = seat.process.error
    return error is not None and error.code is ErrorCode.INSUFFICIENT_MEMORY


def _held(seats: Iterable[Seat]) -> int:
    return sum(held_bytes(seat.process) for seat in seats)


def _least(load: Load) -> int:
    try:
        files = read_facts(Path(load.model_path))
    except ModelFilesError:
        return 0  # its engine will say what is wrong with it
    return least_memory(
        files,
        context_length=load.max_model_len or None,
        weight_bytes_per_parameter=LEAST_WEIGHT_BYTES,
        kv_dtype_bytes=LEAST_KV_BYTES,
    ).total
