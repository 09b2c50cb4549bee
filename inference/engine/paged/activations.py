"""How much memory a step takes beside weights and cache, measured before the cache is reserved."""

from __future__ import annotations

import torch

from inference.engine.attention import LayerRule
from inference.engine.loading import LoadedModel

# Workspaces of the matrix libraries, the sampler's buffers, and the recorded graphs' own.
_FIXED_BYTES = 512 * 1024**2


class _Silent:
    """Stands in for attention: zeros of the right shape."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rule: LayerRule,
    ) -> torch.Tensor:
        return query.new_zeros(query.shape[0], query.shape[1], value.shape[2])


def measure_activations(
    loaded: LoadedModel, devices: list[torch.device], num_rows: int, num_logit_rows: int
) -> dict[torch.device, int]:
    """Bytes by device that the largest step takes at its peak; 0 on the CPU, which can page.

    Runs one step of `num_rows` rows through everything but attention.
    """
    gpus = [device for device in devices if device.type == "cuda"]
    if not gpus:
        return dict.fromkeys(devices, 0)
    before = {}
    for device in gpus:
        torch.cuda.reset_peak_memory_stats(device)
        before[device] = torch.cuda.memory_allocated(device)
    loaded.hook.target = _Silent()
    with torch.inference_mode():
        row = torch.zeros(1, num_rows, dtype=torch.int64, device=loaded.device)
        kept = torch.zeros(num_logit_rows, dtype=torch.int64, device=loaded.device)
        logits = loaded.model(
            input_ids=row, position_ids=row, use_cache=False, logits_to_keep=kept
        ).logits.float()
        # The sampler works on a copy of the logits.
        del logits
    peaks = {
        device: torch.cuda.max_memory_allocated(device) - before[device] + _FIXED_BYTES
        for device in gpus
    }
    for device in gpus:
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
    return peaks
