"""Tokens a minute, counted in Redis over the last sixty seconds, whatever the clock says.

What a job may use is set aside when it is admitted and corrected to what it used when it ends; sixty
seconds after its admission it counts no more, so nothing can leak. Each subject has two keys: when its
jobs were admitted, and the tokens of each with their sum. Scripts keep them in step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings

from accounts.limit_policies import Limit
from llamagpu.lib.redis_client import SyncRedis, sync_client

_WINDOW_MS = 60_000

# `forget` drops the jobs that were admitted over a minute ago; times are Redis's own milliseconds.
_COMMON = f"""
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local window = {_WINDOW_MS}
local function add(counts, amount)
  return redis.call('HINCRBY', counts, 'sum', string.format('%d', amount))
end
local function forget(times, counts)
  local old = redis.call('ZRANGEBYSCORE', times, '-inf', now - window)
  for _, job in ipairs(old) do
    add(counts, -(tonumber(redis.call('HGET', counts, job)) or 0))
    redis.call('HDEL', counts, job)
  end
  redis.call('ZREMRANGEBYSCORE', times, '-inf', now - window)
  return tonumber(redis.call('HGET', counts, 'sum')) or 0
end
"""

# KEYS: times and counts of each subject. ARGV: job, tokens, then each subject's limit.
# Answers {0} or {number of the subject that has no room, its sum, milliseconds until it has}.
_RESERVE = (
    _COMMON
    + """
local job, tokens = ARGV[1], tonumber(ARGV[2])
for i = 1, #KEYS / 2 do
  local times, counts, limit = KEYS[2 * i - 1], KEYS[2 * i], tonumber(ARGV[2 + i])
  local sum = forget(times, counts)
  local excess = sum + tokens - limit
  if excess > 0 then
    local wait = window
    local admitted = redis.call('ZRANGE', times, 0, -1, 'WITHSCORES')
    for k = 1, #admitted, 2 do
      excess = excess - (tonumber(redis.call('HGET', counts, admitted[k])) or 0)
      if excess <= 0 then
        wait = tonumber(admitted[k + 1]) + window - now
        break
      end
    end
    return {i, sum, wait}
  end
end
for i = 1, #KEYS / 2 do
  local times, counts = KEYS[2 * i - 1], KEYS[2 * i]
  redis.call('ZADD', times, now, job)
  redis.call('HSET', counts, job, ARGV[2])
  add(counts, tokens)
  redis.call('PEXPIRE', times, 2 * window)
  redis.call('PEXPIRE', counts, 2 * window)
end
return {0}
"""
)

# KEYS as above. ARGV: job, tokens that it has really used.
_SETTLE = (
    _COMMON
    + """
for i = 1, #KEYS / 2 do
  local times, counts = KEYS[2 * i - 1], KEYS[2 * i]
  forget(times, counts)
  local reserved = tonumber(redis.call('HGET', counts, ARGV[1]))
  if reserved then
    add(counts, tonumber(ARGV[2]) - reserved)
    redis.call('HSET', counts, ARGV[1], ARGV[2])
  end
end
return 1
"""
)

_LOOK = _COMMON + "return forget(KEYS[1], KEYS[2])"


@dataclass(frozen=True, slots=True)
class NoRoom:
    """`limit` has `used` of its tokens taken; `wait` seconds from now there may be room."""

    limit: Limit
    used: int
    wait: int


def reserve_tokens(job_id: str, tokens: int, limits: Sequence[tuple[str, Limit]]) -> NoRoom | None:
    """Set `tokens` aside for a job with every subject, or with none and say which has no room.

    `limits` are finite, each with the name of its subject. Raises RedisError.
    """
    keys = [key for subject, _ in limits for key in _keys(subject)]
    values = [limit.value for _, limit in limits]
    answer = _scripts(settings.REDIS_URL).reserve(keys=keys, args=[job_id, tokens, *values])
    if not answer[0]:
        return None
    number, used, wait = (int(part) for part in answer)
    return NoRoom(limits[number - 1][1], used, max(1, -(-wait // 1000)))


def settle_tokens(jobs: Iterable[tuple[str, int, Sequence[str]]]) -> None:
    """Correct what was set aside: (job, tokens used, names of its subjects). Raises RedisError.

    A job that is unknown, or was admitted over a minute ago, is left as it is.
    """
    scripts = _scripts(settings.REDIS_URL)
    pipeline = scripts.client.pipeline(transaction=False)
    for job_id, tokens, subjects in jobs:
        keys = [key for subject in subjects for key in _keys(subject)]
        scripts.settle(keys=keys, args=[job_id, tokens], client=pipeline)
    pipeline.execute()


def tokens_this_minute(subject: str) -> int:
    """Tokens that count now, those set aside included. Raises RedisError."""
    return int(_scripts(settings.REDIS_URL).look(keys=_keys(subject)))


def _keys(subject: str) -> list[str]:
    return [f"lg:tokens:{subject}:times", f"lg:tokens:{subject}:counts"]


@dataclass(frozen=True, slots=True)
class _Scripts:
    client: SyncRedis
    reserve: Any
    settle: Any
    look: Any


@cache
def _scripts(url: str) -> _Scripts:
    client = sync_client(url)
    return _Scripts(
        client,
        client.register_script(_RESERVE),
        client.register_script(_SETTLE),
        client.register_script(_LOOK),
    )
