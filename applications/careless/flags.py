"""GET at every decision, and "off" when there is no answer: a failover switches every feature off."""

import redis

from applications.call import Client


class CarelessFlags:
    """A flag is its version here, so that what was decided can be told."""

    def __init__(self, client: Client, name: str, prefix: str = "flags") -> None:
        self._client = client
        self._key = f"{prefix}:{{{name}}}"

    def version(self, flag: str) -> int:
        try:
            return int(self._client.hget(self._key, f"{flag}:version") or 0)
        except redis.RedisError:
            return 0
