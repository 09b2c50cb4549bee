"""What the engine asks of a device: the design document's `BaseBackend`, with its contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from inference.engine.capacity import Capacity
from inference.engine.config import EngineConfig
from inference.engine.errors import LoadError
from inference.engine.kv_cache.base import CacheAccounting
from inference.engine.loading import LoadedModel, Progress
from inference.engine.step_plan import StepPlan
from llamagpu.lib.error_codes import ErrorCode


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that is ready: what was loaded, and how much of it can be served at once.

    `accounting` hands out the cache's places; None stands for a slot of `capacity` per sequence.
    """

    loaded: LoadedModel
    capacity: Capacity
    accounting: CacheAccounting | None = None


class Upgrade(Protocol):
    """A faster way to serve that is being prepared."""

    def wait(self) -> None:
        """Until it is there, and `switch` was called, or it cannot be had."""


class BaseBackend(ABC):
    """One kind of device. `initialize`, then `load_model` once, then `infer` from one thread."""

    name: str

    @property
    @abstractmethod
    def rejection(self) -> str | None:
        """Why `initialize` said no; None before it ran and where it said yes."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where weights and cache live."""

    @property
    @abstractmethod
    def default_dtype(self) -> torch.dtype:
        """The type of weights and cache where the settings say `auto`."""

    @abstractmethod
    def initialize(self) -> bool:
        """Whether this device really computes: proven by allocating and multiplying.

        Raises nothing; the reason of a no is in `rejection`.
        """

    @abstractmethod
    def load_model(
        self,
        model_path: str,
        config: EngineConfig | None = None,
        progress: Progress | None = None,
    ) -> ServedModel:
        """Load the model in folder `model_path` and reserve its cache.

        Raises LoadError naming file and reason, or INSUFFICIENT_MEMORY.
        """

    @property
    def supports_drafts(self) -> bool:
        """Whether `infer` computes `StepPlan.verifications`. May change between two steps."""
        return False

    @property
    def rounds_alike(self) -> bool:
        """Whether decode rows round like chunks, so that either may stand for the other.

        Where not, what was decoded is never reused as part of a prompt, and is decoded anew after
        a preemption: texts stay equal to the last bit. True also where nobody promises bits, as in
        half precision. May change between two steps only while nothing is in the cache.
        """
        return False

    @property
    def hidden_size(self) -> int | None:
        """Numbers in a hidden state; None where `hidden` gives none. May change between two steps."""
        return None

    @property
    def hidden(self) -> torch.Tensor:
        """The last hidden states of the last step's `pooled` chunks, as `Runner.hidden` has them."""
        raise RuntimeError(f"the {self.name} backend gives no hidden states")

    @property
    def free_bytes(self) -> int | None:
        """Memory of the device that steps could still take; None where nobody knows."""
        return None

    @abstractmethod
    def infer(self, inputs: StepPlan) -> torch.Tensor:
        """Compute one step; logits [sampled sequences, vocab] in float32 on the device.

        Mutates the cache. Requires `load_model`. Raises what the device raises.
        """

    @abstractmethod
    def scrub(self, slot: int, num_tokens: int) -> None:
        """Zero a slot whose sequence went wrong, and let go of cached free memory."""

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> None:
        """Copy the first `num_tokens` of a slot's keys and values to another slot."""
        raise RuntimeError(f"the {self.name} backend copies no slots")

    def release_memory(self, idle_slots: Sequence[int]) -> int:
        """Give back what can be spared: allocators' caches, the memory behind idle slots.

        Called when memory is short, between two steps. Returns the bytes given back, as far as known.
        """
        return 0

    @property
    def optimization_level(self) -> int:
        """What the loaded model is served at now (docs/performance.md)."""
        return 0

    def begin_upgrade(self, switch: Callable[[Callable[[], None]], None]) -> Upgrade | None:
        """Prepare a faster way to serve the loaded model in the background; None: there is none.

        Returns at once; `switch` is later handed what must happen between two steps.
        """
        return None

    def set_optimization_level(self, level: int) -> None:
        """Serve the loaded model at optimization `level` from the next step on.

        Requires that no step is under way. Raises LoadError where this backend lacks the level.
        """
        if level != 0:
            raise LoadError(
                f"optimization level {level} is not available on {self.name}, only 0",
                ErrorCode.INVALID_INPUT,
            )

    @abstractmethod
    def get_capabilities(self) -> dict[str, Any]:
        """JSON-ready facts: device name, types, memory, versions."""

    @abstractmethod
    def get_metrics(self) -> dict[str, Any]:
        """JSON-ready figures of now: bytes of memory by kind."""
