"""OpenVINO GenAI with int8 weights, in process."""

from __future__ import annotations

import shutil
from pathlib import Path

from inference.benchmark.engines.base import Say, Setting
from inference.benchmark.engines.driven import DrivenEngine
from inference.benchmark.engines.environment import Environment


class OpenVinoEngine(DrivenEngine):
    """The model is exported once, by the library's own tool, and kept beside the environment."""

    name = "openvino"
    driver = "openvino_driver.py"
    precision = "int8, u8 KV"

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.environment = Environment("openvino", setting, unwanted=("torchvision",))

    def model_dir(self) -> Path:
        return self.environment.folder / f"model-{self.setting.model_dir.name}"

    def prepare(self, say: Say) -> None:
        self.environment.make(say)
        target = self.model_dir()
        if target.is_dir():
            return
        say("exporting the model")
        draft = target.with_name("draft")
        shutil.rmtree(draft, ignore_errors=True)
        self.environment.call(
            [
                *(str(self.environment.program("optimum-cli")), "export", "openvino"),
                *("--model", str(self.setting.model_dir)),
                *("--task", "text-generation-with-past", "--weight-format", "int8", str(draft)),
            ],
            say,
            self.environment.variables(),
        )
        draft.rename(target)
