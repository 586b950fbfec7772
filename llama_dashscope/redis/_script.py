"""The Lua script that books turns, and functions to run it with each kind of Redis client."""

from collections.abc import Sequence
from hashlib import sha1
from typing import Final, cast

import anyio
import anyio.to_thread
import redis.asyncio
from redis.exceptions import NoScriptError

__all__ = ["AnyRedis", "AsyncRedis", "run_async", "run_in_thread"]

AsyncRedis = redis.asyncio.Redis | redis.asyncio.RedisCluster
SyncRedis = redis.Redis | redis.RedisCluster
AnyRedis = AsyncRedis | SyncRedis

Arguments = Sequence[str | float]

LUA: Final = """\
-- Books the turn of one request to a model. Times are microseconds of this server's own clock.
local key, crowd = KEYS[1], KEYS[2]
local a = {}
for i = 1, 10 do a[i] = tonumber(ARGV[i]) end
local request_time, token_time, wanted = a[1], a[2], a[3]
local given_back, correction, answered, refused, retry_after = a[4], a[5], a[6], a[7], a[8]
local longest, ahead = a[9], a[10]
local worker = ARGV[11]

-- Stored as text: when the next request and the next token are due, when the pause ends, when it
-- began, the number of pauses in a row, and the time of this update.
local burst, first_pause, forgotten = 20000, 250000, 30000000
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local kept = redis.call('GET', key) or '0 0 0 0 0 0'
local f = {}
for number in string.gmatch(kept, '%S+') do f[#f + 1] = tonumber(number) end
local requests, tokens, resumes, cooled, strikes, seen = unpack(f)

-- After a failover the new server's clock may be behind: shift all times by the difference.
local back = math.max(0, seen - now)
requests, tokens, resumes, cooled = requests - back, tokens - back, resumes - back, cooled - back

-- The outcomes that the worker reports.
requests = requests - given_back * request_time
tokens = tokens + correction * token_time
if answered > cooled then strikes = 0 end
if refused > cooled then
  strikes = math.min(strikes + 1, 20)
  local pause = retry_after > 0 and retry_after or first_pause * 2 ^ (strikes - 1)
  cooled, resumes = now, now + math.min(pause, longest)
end

if worker ~= '' then
  redis.call('ZADD', crowd, now, worker)
  redis.call('ZREMRANGEBYSCORE', crowd, '-inf', now - forgotten)
  redis.call('PEXPIRE', crowd, forgotten / 1000)
end
local workers = math.max(1, redis.call('ZCARD', crowd))

-- Book a turn if it is not too early; else the worker asks again later, so that all workers
-- together ask at most 1,000 times a second.
requests, tokens = math.max(requests, now - burst), math.max(tokens, now - burst)
local due = math.max(requests, tokens)
local early = math.max(resumes - now, due - now - ahead)
local booked, wait = 1, math.max(due - now, 0)
if early > 0 then
  booked, wait = 0, math.max(early, workers * 1000)
else
  requests, tokens = requests + request_time, tokens + wanted * token_time
end

redis.call('SET', key, string.format('%.0f %.0f %.0f %.0f %d %.0f',
  requests, tokens, resumes, cooled, strikes, now),
  'PX', math.ceil((math.max(requests, tokens, resumes) - now + forgotten) / 1000))
return {booked, math.ceil(wait), workers, now}
"""

SHA: Final = sha1(LUA.encode(), usedforsecurity=False).hexdigest()


async def run_async(client: AsyncRedis, keys: Sequence[str], arguments: Arguments) -> list[int]:
    """Run the script with an asyncio client; send it again if Redis doesn't have it."""
    try:
        reply = await client.evalsha(SHA, len(keys), *keys, *arguments)
    except NoScriptError:
        reply = await client.eval(LUA, len(keys), *keys, *arguments)
    return cast("list[int]", reply)


async def run_in_thread(
    client: SyncRedis, keys: Sequence[str], arguments: Arguments, limiter: anyio.CapacityLimiter
) -> list[int]:
    """Run the script with a blocking client in a worker thread, which is abandoned if cancelled."""

    def run() -> list[int]:
        try:
            reply = client.evalsha(SHA, len(keys), *keys, *arguments)
        except NoScriptError:
            reply = client.eval(LUA, len(keys), *keys, *arguments)
        return cast("list[int]", reply)

    return await anyio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=limiter)
