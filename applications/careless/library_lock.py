"""redis-py's own Lock, used with everything that it has: owner, end, extension. It has no fencing token, so whatever it protects
cannot tell a holder that was paused for too long from the present one; and nothing waits for replicas."""

import time

import redis

from applications.call import Client
from applications.lock import Tenure


class LibraryLock:
    """The calls of `applications.lock.FencedLock`."""

    def __init__(self, client: Client, name: str, ttl_seconds: float, prefix: str = "lock") -> None:
        self._lock = client.lock(f"{prefix}:{{{name}}}", timeout=ttl_seconds, blocking=False, thread_local=False)
        self._ttl_seconds = ttl_seconds

    def acquire(self) -> Tenure | None:
        began = time.monotonic()
        return Tenure("", 0, began + self._ttl_seconds) if self._lock.acquire() else None

    def renew(self, tenure: Tenure) -> Tenure | None:
        began = time.monotonic()
        try:
            self._lock.reacquire()
        except redis.exceptions.LockError:
            return None
        return Tenure(tenure.owner, tenure.token, began + self._ttl_seconds)

    def release(self) -> None:
        try:
            self._lock.release()
        except redis.exceptions.LockError:
            return  # it had ended
