"""Names for the contents of a cache: one per block of TILE tokens, chained over all before it.

The chain begins with the tenant, so equal prompts of two tenants have different names: nobody can
learn from a fast answer what somebody else has asked (vLLM's CVE-2025-46570).
"""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Callable
from hashlib import blake2b

from inference.engine.tiling import TILE

# Names must not collide, whatever the prompts: a cryptographic hash, and a key that nobody knows.
_SECRET = secrets.token_bytes(32)
_NAME_BYTES = 16

ReadTokens = Callable[[int, int], list[int]]


class PrefixKeys:
    """The names of one sequence's leading blocks, computed as far as they were asked for.

    The first `num_prompt` tokens are computed as a prompt, later ones one by one while decoding; for
    kernels that round the two differently a block is also named after where that border lies. None
    leaves it out.
    """

    __slots__ = ("_names", "_num_prompt", "_root")

    def __init__(self, tenant: str, num_prompt: int | None) -> None:
        self._root = _digest(tenant.encode("utf-8", "surrogatepass"))
        self._num_prompt = num_prompt
        self._names: list[bytes] = []

    def up_to(self, num_tokens: int, read: ReadTokens) -> list[bytes]:
        """The names of the whole blocks among the first `num_tokens`; `read` gives token ids."""
        num_blocks = num_tokens // TILE
        names = self._names
        while len(names) < num_blocks:
            start = len(names) * TILE
            previous = names[-1] if names else self._root
            tokens = array("q", read(start, start + TILE)).tobytes()
            end = start + TILE if self._num_prompt is None else self._num_prompt
            as_prompt = min(TILE, max(0, end - start))
            names.append(_digest(previous + bytes([as_prompt]) + tokens))
        return names[:num_blocks]


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_NAME_BYTES, key=_SECRET).digest()
