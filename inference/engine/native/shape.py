"""The numbers that describe a model to the kernels, as they are kept beside the packed weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

# Raised whenever packed weights of an older kind would be read wrongly.
PACK_VERSION = 2


@dataclass(frozen=True, slots=True)
class NativeShape:
    """A model of the llama family. `windows` and `ropes` have one entry per layer.

    A window of 0 sees everything. A rope names the tensors `inv_freq.<name>`; "" turns nothing.
    `rope_factors` scale cosines and sines by name.
    """

    num_layers: int
    hidden: int
    intermediate: int
    vocab: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rotary_dim: int
    activation: str
    epsilon: float
    query_scale: float
    max_model_len: int
    windows: tuple[int, ...]
    ropes: tuple[str, ...]
    rope_factors: dict[str, float]
    wide_qk_norm: bool = False
    softcap: float = 0.0
    logit_softcap: float = 0.0
    embedding_factor: float = 1.0
    residual_factor: float = 1.0
    logit_factor: float = 1.0
    # By linear layer: bits, n, k, n_real, factor.
    linears: dict[str, tuple[int, int, int, int, float]] = field(default_factory=dict)

    def kv_bytes_per_head(self) -> int:
        """Bytes of one token's key and value: 16-bit integers and three float32 scales."""
        return 2 * 2 * self.head_dim + 3 * 4

    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values of one token in all layers."""
        return self.num_layers * self.num_kv_heads * self.kv_bytes_per_head()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> NativeShape:
        """Raises TypeError or ValueError for what `to_json` did not write."""
        lists = {name: tuple(value[name]) for name in ("windows", "ropes")}
        linears = {name: tuple(item) for name, item in value["linears"].items()}
        return cls(**{**value, **lists, "linears": linears})
