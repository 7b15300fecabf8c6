"""Rate limits, decided in one step on the server and by its clock, so neither races nor clocks of clients count.

A failover may forget what was counted in its last moments: for a window at most one more limit is admitted. When Redis does not
answer, the caller has to choose: refuse (`redis.RedisError` passed on as "try later"), or admit and be without a limit.
"""

from dataclasses import dataclass

from applications.call import Client, Script, run

_NOW = "local time = redis.call('TIME') local now = time[1] * 1000000 + time[2] "
_FIXED = Script(
    _NOW
    + """
local window = math.floor(now / ARGV[2])
local held, count = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
count = held and tonumber(held) == window and tonumber(count) or 0
if count >= tonumber(ARGV[1]) then return {0, now} end
redis.call('SET', KEYS[1], string.format('%.0f %d', window, count + 1), 'PX', math.ceil(ARGV[2] / 1000))
return {1, now}
"""
)
_SLIDING = Script(
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now - ARGV[2])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return {0, now} end
redis.call('ZADD', KEYS[1], now, string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] / 1000))
return {1, now}
"""
)
_BUCKET = Script(
    _NOW
    + """
local held, at = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%d+)$')
local limit = tonumber(ARGV[1])
local tokens = held and math.min(limit, held + math.max(0, now - at) * limit / ARGV[2]) or limit
local admitted = tokens >= 1 and 1 or 0
redis.call('SET', KEYS[1], string.format('%.6f %.0f', tokens - admitted, now), 'PX', math.ceil(ARGV[2] / 1000))
return {admitted, now}
"""
)


@dataclass(frozen=True)
class Answer:
    """Whether one more is admitted; `at_microseconds` on the server's clock, in whose windows it counts."""

    admitted: bool
    at_microseconds: int


class Limiter:
    """At most `limit` per `window_seconds` for each name."""

    script: Script

    def __init__(self, client: Client, limit: int, window_seconds: float, prefix: str = "limit") -> None:
        self._client = client
        self._limit, self._window = limit, int(window_seconds * 1e6)
        self._prefix = prefix

    def ask(self, name: str) -> Answer:
        """Whether one more may pass now. Raises redis.RedisError."""
        admitted, now = run(self._client, self.script, [f"{self._prefix}:{{{name}}}"], self._limit, self._window)
        return Answer(bool(admitted), int(now))


class FixedWindow(Limiter):
    """Counts per window of the clock; twice the limit can pass around the change of windows. One small key per name."""

    script = _FIXED


class SlidingWindow(Limiter):
    """Never more than the limit in any stretch as long as the window. Keeps a moment for each that was admitted."""

    script = _SLIDING


class TokenBucket(Limiter):
    """Refills evenly; the limit may be spent at once, and as many again during the window. One small key per name."""

    script = _BUCKET
