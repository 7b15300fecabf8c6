"""Rate limits of the `limits` library on the client that the application has already, so that one place decides how a failover is
ridden out (by itself the library makes a client of its own from a URL, for a cluster redis-py's plain one).

Its fixed window begins with the first request and counts in one script on the server, by the server's clock. Twice the limit can
pass within one window's length around its end. Its moving window goes by the clock of each client: with clocks that differ it
admits too much or too little, so take `applications.limiter.SlidingWindow` for an exact one.
"""

import time

from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from applications.call import Client
from applications.limiter import Answer


def storage_on(client: Client, prefix: str) -> RedisStorage:
    """The library's counters behind any client of redis-py; their keys begin with `prefix`."""
    storage = RedisStorage("redis://", key_prefix=prefix)  # makes a client, too, which never connects
    storage.storage = client
    storage.initialize_storage("")
    return storage


class LibraryLimiter:
    """The calls of `applications.limiter.Limiter`; windows of whole seconds."""

    def __init__(self, client: Client, limit: int, window_seconds: int, prefix: str = "limit") -> None:
        self._limiter = FixedWindowRateLimiter(storage_on(client, prefix))
        self._item = RateLimitItemPerSecond(limit, window_seconds)

    def ask(self, name: str) -> Answer:
        """Whether one more may pass now; the library does not tell the server's time, so the moment is this client's. Raises
        redis.RedisError."""
        admitted = self._limiter.hit(self._item, f"{{{name}}}")
        return Answer(admitted, time.time_ns() // 1000)
