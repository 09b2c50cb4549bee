"""The design document's Model Manager: finds models under a root, loads, describes, unloads them.

An engine process loads one model; a library user may hold several. Models are known by their name
under the root (`inference.model_store` says which forms there are).
"""

from __future__ import annotations

import gc
import logging
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from inference.engine.backends.base import BaseBackend, ServedModel
from inference.engine.backends.selection import select_backend
from inference.engine.cache_folder import cache_folder
from inference.engine.config import EngineConfig
from inference.engine.errors import LoadError
from inference.engine.gguf_loading import ensure_converted
from inference.engine.loading import Progress, quieten_transformers
from inference.engine.memory import give_back_heap
from inference.memory_plan import MemoryEstimate, estimate_memory
from inference.model_files import ModelFiles, ModelFilesError
from inference.model_store import (
    StoredModel,
    find_model,
    gguf_of,
    list_models,
    read_facts,
    read_manifest,
)
from llamagpu.lib.error_codes import ErrorCode

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a model without loading it; `is_loaded` says whether this manager did."""

    stored: StoredModel
    files: ModelFiles
    source: str
    source_sha256: str
    estimate: MemoryEstimate
    is_loaded: bool


class ManagedModel:
    """A loaded model. Once it is unloaded, `served` and `backend` raise LoadError."""

    def __init__(
        self,
        stored: StoredModel,
        backend: BaseBackend,
        served: ServedModel,
        rejected_backends: dict[str, str],
    ) -> None:
        self.stored = stored
        self.rejected_backends = rejected_backends
        self._parts: tuple[BaseBackend, ServedModel] | None = (backend, served)

    @property
    def model_id(self) -> str:
        return self.stored.model_id

    @property
    def backend(self) -> BaseBackend:
        return self._loaded()[0]

    @property
    def served(self) -> ServedModel:
        return self._loaded()[1]

    def release(self) -> None:
        """Let go of the weights and the cache."""
        self._parts = None

    def _loaded(self) -> tuple[BaseBackend, ServedModel]:
        if self._parts is None:
            raise LoadError(f"'{self.model_id}' is unloaded", ErrorCode.MODEL_NOT_FOUND)
        return self._parts


class ModelManager:
    """Models under the folder `root`, loaded with the settings of `config`. Safe for many threads;
    one model loads at a time.
    """

    def __init__(self, root: Path, config: EngineConfig | None = None) -> None:
        self._root = root
        self._config = config or EngineConfig()
        self._loaded: dict[str, ManagedModel] = {}
        self._lock = threading.RLock()

    def list_models(self) -> list[StoredModel]:
        """What the root holds. Raises LoadError where it cannot be read."""
        try:
            return list_models(self._root)
        except ModelFilesError as error:
            raise LoadError(str(error)) from error

    def load_model(
        self, model_id: str, backend: str = "auto", progress: Progress | None = None
    ) -> ManagedModel:
        """The model `model_id` (`name`, `org/name`, with `@revision` where one is wanted), ready.

        One that is loaded already is handed out again. `backend` `auto` takes the one that the
        settings name. Raises LoadError naming file and reason.
        """
        with self._lock:
            stored = self._find(model_id)
            return self._loaded.get(_key(stored)) or self.load_stored(stored, backend, progress)

    def load_stored(
        self, stored: StoredModel, backend: str = "auto", progress: Progress | None = None
    ) -> ManagedModel:
        """Load a model wherever it lies; the root is not asked. Raises LoadError."""
        config = self._config if backend == "auto" else replace(self._config, backend=backend)
        report = progress or (lambda stage, fraction: None)
        with self._lock:
            quieten_transformers()
            selection = select_backend(config.backend)
            folder = _servable_folder(stored.path, config, report)
            try:
                served = selection.backend.load_model(str(folder), config, report)
            except LoadError as error:
                # People know the file that they put there, not what became of it.
                message = error.message.replace(str(folder), str(stored.path))
                raise LoadError(message, error.code) from error
            model = ManagedModel(stored, selection.backend, served, selection.rejected)
            self._loaded[_key(stored)] = model
            logger.info("loaded '%s' %s", stored.model_id, stored.revision)
            return model

    def unload_model(self, model_id: str) -> None:
        """Give a model's memory back. Raises LoadError MODEL_NOT_FOUND where it is not loaded.

        What still uses it (an `Engine` that runs) must have ended: it holds the memory otherwise.
        """
        with self._lock:
            model = self._loaded.pop(_key(self._find(model_id)), None)
            if model is None:
                raise LoadError(f"'{model_id}' is not loaded", ErrorCode.MODEL_NOT_FOUND)
            is_on_device = model.served.loaded.device.type != "cpu"
            model.release()
            del model
            gc.collect()
            if is_on_device:
                torch.cuda.empty_cache()
            give_back_heap()

    def get_model_info(self, model_id: str) -> ModelInfo:
        """The facts of a model from its headers. Raises LoadError."""
        stored = self._find(model_id)
        try:
            files = read_facts(stored.path)
        except ModelFilesError as error:
            raise LoadError(str(error)) from error
        manifest = read_manifest(stored.path)
        return ModelInfo(
            stored=stored,
            files=files,
            source=manifest.get("source", f"path:{stored.path.name}"),
            source_sha256=manifest.get("sha256", ""),
            estimate=estimate_memory(
                files,
                num_slots=self._config.num_slots,
                context_length=self._config.max_model_len,
            ),
            is_loaded=_key(stored) in self._loaded,
        )

    def optimize_model(self, model: ManagedModel, optimization_level: int) -> None:
        """Serve a loaded model at another level (docs/performance.md). No step may be under way.

        Raises LoadError where its backend does not have the level.
        """
        model.backend.set_optimization_level(optimization_level)

    def _find(self, model_id: str) -> StoredModel:
        try:
            return find_model(self._root, model_id)
        except ModelFilesError as error:
            raise LoadError(str(error), ErrorCode.MODEL_NOT_FOUND) from error


def _servable_folder(path: Path, config: EngineConfig, progress: Progress) -> Path:
    """`path`, or the converted form of the GGUF that it is or holds."""
    try:
        gguf = gguf_of(path)
    except ModelFilesError as error:
        raise LoadError(str(error)) from error
    if gguf is None:
        return path
    return ensure_converted(gguf, cache_folder(config), progress)


def _key(stored: StoredModel) -> str:
    return str(stored.path)
