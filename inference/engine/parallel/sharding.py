"""Tensor parallelism: every rank holds a part of each layer's matrices and of its heads.

transformers knows for each family which matrices are cut where (`tp_plan`) and adds the sums up
between ranks. Attention needs nothing: a rank's heads attend over a rank's cache.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.distributed.configuration_utils import DistributedConfig

from inference.engine.errors import LoadError
from inference.model_files import ModelFiles
from llamagpu.lib.error_codes import ErrorCode

# In these plans the projections' results are gathered, and every rank attends with all heads.
_CUT = "colwise"


def check_shards(files: ModelFiles, config: Any, size: int, device: torch.device) -> None:
    """Raises LoadError, saying what would do, where the model cannot be cut into `size` parts."""
    text = config.get_text_config()
    plan = getattr(text, "base_model_tp_plan", None)
    file = files.path / "config.json"
    if not plan:
        raise LoadError(
            f"{file}: transformers has no plan to split {files.model_type} models over ranks; "
            "use tensor_parallel 1"
        )
    is_cut = any(name.endswith("k_proj") and style == _CUT for name, style in plan.items())
    if is_cut and (files.num_heads % size or files.num_kv_heads % size):
        fitting = [
            str(number)
            for number in range(1, files.num_kv_heads + 1)
            if files.num_heads % number == 0 and files.num_kv_heads % number == 0
        ]
        raise LoadError(
            f"{file}: {files.num_heads} heads over {files.num_kv_heads} kv heads cannot be split "
            f"over {size} ranks; tensor_parallel may be {', '.join(fitting)}",
            ErrorCode.INVALID_INPUT,
        )
    accelerator = torch.accelerator.current_accelerator()
    found = accelerator.type if accelerator is not None else "cpu"
    if found != device.type:
        raise LoadError(
            f"tensor_parallel on the {device.type} needs the {found} devices hidden: "
            "set CUDA_VISIBLE_DEVICES to nothing"
        )


def shard_placement(size: int) -> dict[str, Any]:
    """What `from_pretrained` wants to hear, in every rank."""
    return {"distributed_config": DistributedConfig(tp_size=size, tp_plan="auto")}
