"""What a worker must know of an upstream to speak to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from inference.upstreams import BaseUrl
from llamagpu.lib.allow_list import AllowList


@dataclass(frozen=True, slots=True)
class RemoteLoad:
    """`key` is empty for an upstream that wants none; it is in no representation of this object.

    `silence` is how many seconds it may send nothing; `max_model_len` is 0 where only it knows;
    nobody may ask for more than `max_new_tokens`.
    """

    base_url: BaseUrl
    upstream_model: str
    key: str = field(repr=False)
    allow: AllowList
    silence: float
    capabilities: frozenset[str]
    max_model_len: int
    max_new_tokens: int
    num_slots: int
