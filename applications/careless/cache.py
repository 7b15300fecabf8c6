"""GET, on a miss load and SET; on a change SET, and when that fails, well. Everybody loads at once when a key is missing, an
entry without an end stays wrong for ever, and what does not exist is asked of the database every time."""

import contextlib
import json
from typing import Any

import redis

from applications.cache import Found, Loader
from applications.call import Client


class CarelessCache:
    """The calls of `applications.cache.Cache`."""

    def __init__(self, client: Client, load: Loader, prefix: str = "cache") -> None:
        self._client = client
        self._load = load
        self._prefix = prefix

    def get(self, key: str) -> Found:
        try:
            raw: Any = self._client.get(f"{self._prefix}:{{{key}}}")
        except redis.RedisError:
            raw = None
        if raw is not None:
            version, value = json.loads(raw)
            return Found(version, value, "cache")
        loaded = self._load(key)
        if loaded is None:
            return Found(0, None, "origin")
        self.store(key, *loaded)
        return Found(*loaded, "origin")

    def store(self, key: str, version: int, value: str) -> None:
        with contextlib.suppress(redis.RedisError):  # it is only a cache
            self._client.set(f"{self._prefix}:{{{key}}}", json.dumps([version, value]))
