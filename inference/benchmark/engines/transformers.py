"""transformers' own `generate`, in process."""

from __future__ import annotations

from pathlib import Path

from inference.benchmark.engines.base import Say, Setting
from inference.benchmark.engines.driven import DrivenEngine
from inference.benchmark.engines.environment import Environment


class TransformersEngine(DrivenEngine):
    """The model as it lies on the disk, in bf16."""

    name = "transformers"
    driver = "transformers_driver.py"
    precision = "bf16"

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.environment = Environment("transformers", setting)

    def model_dir(self) -> Path:
        return self.setting.model_dir

    def prepare(self, say: Say) -> None:
        self.environment.make(say)
