"""Who is asking, and how often: sessions with sliding expiry, and a rate limit over fixed windows."""

import secrets
from typing import Any

SESSION_SECONDS = 1800
_COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return {count, redis.call('PTTL', KEYS[1])}
"""


class Sessions:
    """A session lives until nobody has asked for it for `SESSION_SECONDS`, or until it is ended."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def begin(self, user: str, session: str) -> None:
        """`session` is chosen by the caller (see `new_session`), so that a repeated call begins no second one."""
        self._client.set(f"session:{session}", user, ex=SESSION_SECONDS)

    def user(self, session: str) -> str | None:
        """Whose session it is, and another `SESSION_SECONDS` for it; None when there is none."""
        found: str | None = self._client.getex(f"session:{session}", ex=SESSION_SECONDS)
        return found

    def end(self, session: str) -> None:
        self._client.delete(f"session:{session}")


def new_session() -> str:
    """A name that nobody guesses."""
    return secrets.token_urlsafe(32)


class Limiter:
    """At most `limit` requests of one visitor in each window of `seconds`."""

    def __init__(self, client: Any, limit: int, seconds: float) -> None:
        self._client = client
        self._limit = limit
        self._window_ms = int(seconds * 1000)

    def wait_seconds(self, visitor: str) -> float:
        """0 when the request is admitted, else for how long the visitor has to wait. A repeated call counts twice."""
        count, left_ms = self._client.eval(_COUNT, 1, f"limit:{visitor}", self._window_ms)
        return left_ms / 1000 if count > self._limit else 0.0
