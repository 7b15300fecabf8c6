"""A local tier for keys that everybody reads: the client-side cache of redis-py, with an end.

The server tells a connection when something changes that was read on it (CLIENT TRACKING, RESP3), so an answer from memory is
right and costs no request, and a connection that breaks takes what it read along. But a primary that hangs or is cut off tells
nobody, and breaks nothing: the library alone goes on answering from memory for as long as nobody needs that connection for
something else, while the others go on with a new primary. So nothing here is older than `seconds`, counted from before it was
asked for: without a fault a change is seen at once, in one after that time at most.

An answer from the memory of redis-py spares the server, not the client: it costs several times the processor time of a request
over a local network. So a key that was looked up is not looked up again for `look_seconds`, by which a change is seen later.

    near = Near(seconds=1.0)
    rows = NearRows(RedisCluster(…, protocol=3, cache=near), near)
    rows = NearRows(sentinel.master_for(…, protocol=3, cache=near, connection_pool_class=NearSentinelPool), near)

redis-py does this with Redis from 7.4 on, and not with Valkey.
"""

import time
from typing import Any

from redis.cache import CacheConfig, CacheEntry, CacheEntryStatus, CacheKey, DefaultCache
from redis.sentinel import SentinelConnectionPool

from applications.call import Client

MOST_LOOKED = 10_000


class Near(DefaultCache):
    """The memory of one client. A client with its own for each thread: between threads it is not protected."""

    def __init__(self, seconds: float, most_entries: int = 10_000) -> None:
        super().__init__(CacheConfig(max_size=most_entries))
        self._seconds = seconds
        self._asked_at: dict[CacheKey, float] = {}
        self.asked = 0
        """Requests that could not be answered from memory."""

    def set(self, entry: CacheEntry) -> bool:
        """Called by redis-py before it asks, and when it has the answer."""
        if entry.status is CacheEntryStatus.IN_PROGRESS:
            self.asked += 1
            self._asked_at.pop(entry.cache_key, None)
            self._asked_at[entry.cache_key] = time.monotonic()
        return super().set(entry)

    def let_go(self) -> None:
        """Forget what is too old. Not in `get`: redis-py looks an entry up several times for one answer."""
        since = time.monotonic() - self._seconds
        while self._asked_at:
            oldest = next(iter(self._asked_at))
            if self._asked_at[oldest] > since:
                return
            del self._asked_at[oldest]
            self.collection.pop(oldest, None)


class NearSentinelPool(SentinelConnectionPool):
    """Connections through Sentinel that keep what was read on them.

    redis-py (8.1) asks whether a connection that comes back still leads to the primary, and looks at the port that its cached
    connection had before it was connected. So each is closed after one request, and forgets what it has read.
    """

    def owns_connection(self, connection: Any) -> bool:
        return bool(super().owns_connection(getattr(connection, "_conn", connection)))  # type: ignore[no-untyped-call]


class NearRows:
    """Plain values by key. `client` speaks RESP3 and has `near` as its cache."""

    def __init__(self, client: Client, near: Near, prefix: str = "near", look_seconds: float = 0.02) -> None:
        self._client = client
        self._near = near
        self._prefix = prefix
        self._look_seconds = look_seconds
        self._looked: dict[str, tuple[float, Any]] = {}

    def get(self, key: str) -> Any:
        """Its value, None where there is none. Raises redis.RedisError."""
        until, value = self._looked.get(key, (0.0, None))
        now = time.monotonic()
        if now < until:
            return value
        self._near.let_go()
        value = self._client.get(f"{self._prefix}:{{{key}}}")
        if len(self._looked) > MOST_LOOKED:
            self._looked.clear()
        self._looked[key] = (now + self._look_seconds, value)
        return value

    def set(self, key: str, value: str | int) -> None:
        """Raises redis.RedisError."""
        self._looked.pop(key, None)
        self._client.set(f"{self._prefix}:{{{key}}}", value)
