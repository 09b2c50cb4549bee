"""From a folder and settings to an engine that can run: select the device, load, assemble."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inference.engine.backends.base import BaseBackend, ServedModel
from inference.engine.config import EngineConfig
from inference.engine.engine import Emit, Engine
from inference.engine.loading import Progress
from inference.engine.memory import resident_bytes
from inference.engine.model_manager import ModelManager
from inference.model_store import StoredModel
from inference.protocol import Loaded


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """An assembled engine, whose `run` someone has yet to call, and what it is made of."""

    engine: Engine
    backend: BaseBackend
    served: ServedModel
    rejected_backends: dict[str, str]

    def describe(self, load_time: float) -> Loaded:
        """The `Loaded` event; `load_time` is seconds."""
        loaded, files = self.served.loaded, self.served.loaded.files
        return Loaded(
            architecture=files.architecture,
            backend=self.backend.name,
            device=str(loaded.device),
            dtype=str(loaded.dtype).removeprefix("torch."),
            max_model_len=self.served.capacity.max_model_len,
            num_slots=self.served.capacity.num_slots,
            vocab_size=files.vocab_size,
            num_parameters=files.num_parameters,
            weight_bytes=files.num_parameters * loaded.dtype.itemsize,
            load_time=load_time,
            capabilities={
                **self.backend.get_capabilities(),
                **self._batching(),
                **self.engine.offers(),
            },
            rejected_backends=self.rejected_backends,
            reserved_bytes=resident_bytes() + self._host_cache_bytes(),
        )

    def _batching(self) -> dict[str, str]:
        """Whether sequences run beside each other, and if not, why."""
        loaded = self.served.loaded
        if not loaded.is_serial:
            return {"batching": "continuous"}
        # People know the model by its name, not by the server's folders.
        reason = loaded.serial_reason.replace(str(loaded.files.path), loaded.files.path.name)
        return {"batching": "serial", "serial_reason": reason}

    def begin_upgrade(self) -> None:
        """Look for a faster way to serve the model, in the background; requests notice nothing."""
        self.backend.begin_upgrade(self.engine.preempt_all)

    def _host_cache_bytes(self) -> int:
        """Host memory that the cache will take once it is full; it is reserved, not yet touched."""
        if self.served.loaded.device.type != "cpu":
            return 0
        return int(self.backend.get_metrics().get("kv_cache_reserved_bytes", 0))


def start_engine(
    path: Path, config: EngineConfig, emit: Emit, progress: Progress | None = None
) -> RunningEngine:
    """Load the model in folder or GGUF file `path` on the backend that `config` asks for.

    Raises LoadError.
    """
    stored = StoredModel(path.name, path)
    model = ModelManager(path.parent, config).load_stored(stored, progress=progress)
    engine = Engine(
        model.backend,
        model.served,
        emit,
        prefill_budget=config.prefill_budget,
        max_waiting=config.max_waiting,
        max_drafts=config.max_drafts,
    )
    return RunningEngine(engine, model.backend, model.served, model.rejected_backends)
