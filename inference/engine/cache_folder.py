"""Where an engine keeps what can be made again: converted files, compiled kernels, packed models."""

from __future__ import annotations

import os
from pathlib import Path

from inference.engine.config import EngineConfig

_PROJECT = Path(__file__).resolve().parents[2]


def cache_folder(config: EngineConfig) -> Path:
    """The folder that the settings name, or the data directory's."""
    if config.cache_dir:
        return Path(config.cache_dir)
    data_dir = os.environ.get("LLAMA_DATA_DIR", "").strip()
    return (Path(data_dir).expanduser() if data_dir else _PROJECT / "var") / "cache"
