"""GET, compare, INCR, EXPIRE. Between the look and the step others pass too; who dies before EXPIRE shuts the door for ever."""

import math
import time

from applications.call import Client
from applications.limiter import Answer


class CarelessLimiter:
    """The calls of `applications.limiter.Limiter`."""

    def __init__(self, client: Client, limit: int, window_seconds: float, prefix: str = "limit") -> None:
        self._client = client
        self._limit, self._seconds = limit, math.ceil(window_seconds)
        self._prefix = prefix

    def ask(self, name: str) -> Answer:
        key = f"{self._prefix}:{{{name}}}"
        count = int(self._client.get(key) or 0)
        now = time.time_ns() // 1000
        if count >= self._limit:
            return Answer(False, now)
        if self._client.incr(key) == 1:
            self._client.expire(key, self._seconds)
        return Answer(True, now)
