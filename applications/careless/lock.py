"""SETNX, then EXPIRE, then DEL. Who crashes between the first two locks everybody out for ever; whose work took longer than the
lock lasts deletes the lock of somebody else; and nobody notices."""

import math
import secrets

from applications.call import Client
from applications.lock import Tenure


class CarelessLock:
    """The calls of `applications.lock.FencedLock`."""

    def __init__(self, client: Client, name: str, ttl_seconds: float, prefix: str = "lock") -> None:
        self._client = client
        self._key = f"{prefix}:{{{name}}}"
        self._ttl_seconds = math.ceil(ttl_seconds)

    def acquire(self) -> Tenure | None:
        if not self._client.setnx(self._key, "locked"):
            return None
        self._client.expire(self._key, self._ttl_seconds)
        return Tenure(secrets.token_hex(8), 0, math.inf)

    def release(self) -> None:
        self._client.delete(self._key)
