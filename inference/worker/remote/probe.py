"""Is an upstream there, does it accept our key, and does it serve the model?"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import httpx
import msgspec

from inference.worker.remote.call import check_form, read_bounded
from inference.worker.remote.failures import (
    RemoteFailure,
    TryAgain,
    failure_of,
    forbidden,
    garbage,
    unreachable,
)
from inference.worker.remote.network import ForbiddenAddressError
from inference.worker.remote.target import RemoteLoad
from llamagpu.lib.error_codes import ErrorCode

_TIMEOUT = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.3, 2.0
_MAX_BYTES = 4 * 1024 * 1024


class _Served(msgspec.Struct):
    """vLLM adds how long a context it serves."""

    id: str = ""
    max_model_len: int | None = None


class _List(msgspec.Struct):
    data: list[_Served]


@dataclass(frozen=True, slots=True)
class Found:
    """What an upstream says of its model; `max_model_len` 0 where it says nothing."""

    max_model_len: int = 0


async def probe(client: httpx.AsyncClient, load: RemoteLoad, patience: float) -> Found:
    """Ask for the list of models, for `patience` seconds where need be. Raises RemoteFailure.

    An upstream that is too busy to say anything is there.
    """
    give_up_at = time.monotonic() + patience
    pause = _FIRST_PAUSE
    while True:
        try:
            return await _probe(client, load)
        except TryAgain as again:
            if again.is_busy:
                return Found()
            if time.monotonic() + pause > give_up_at:
                raise again.failure from None
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


async def _probe(client: httpx.AsyncClient, load: RemoteLoad) -> Found:
    url = f"{load.base_url.text}/models"
    try:
        async with asyncio.timeout(_TIMEOUT), client.stream("GET", url) as response:
            if response.status_code != 200:
                body = await read_bounded(response, _MAX_BYTES)
                raise failure_of(response.status_code, response.headers, body, load)
            check_form(response, "application/json")
            return _found(await read_bounded(response, _MAX_BYTES), load)
    except ForbiddenAddressError as error:
        raise forbidden() from error
    except (httpx.TransportError, OSError, TimeoutError) as error:
        raise unreachable() from error


def _found(body: bytes, load: RemoteLoad) -> Found:
    try:
        served = msgspec.json.decode(body, type=_List).data
    except (msgspec.DecodeError, RecursionError) as error:
        raise garbage() from error
    for model in served:
        if model.id == load.upstream_model:
            return Found(max(0, model.max_model_len or 0))
    message = f"The upstream serves no model '{load.upstream_model}'."
    raise RemoteFailure(ErrorCode.MODEL_LOAD_FAILED, message)
