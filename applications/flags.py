"""Feature flags that are never unset: every instance has its own copy, which it looks after, and decides by that.

A decision costs no request and cannot fail. A copy is at most `every_seconds` behind, longer only while Redis does not answer;
it never goes back to an older version, which a failover may bring up again. Whoever owns the flags tells Redis what they are,
again and again (`declare`), so that what a failover forgot comes back.
"""

import time

from applications.call import TROUBLES, Client, Confirm, Script, run

_DECLARE = Script("""
local held = tonumber(redis.call('HGET', KEYS[1], ARGV[1] .. ':version') or 0)
if held > tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], ARGV[1] .. ':version', ARGV[3])
return 1
""")


class Flags:
    """All flags of an application, in one hash; `name` becomes its hash tag. `defaults` hold until Redis has answered once."""

    def __init__(
        self, client: Client, name: str, defaults: dict[str, str], every_seconds: float = 0.5,
        confirm: Confirm | None = None, prefix: str = "flags",
    ) -> None:  # fmt: skip
        self._client = client
        self._key = f"{prefix}:{{{name}}}"
        self._every = every_seconds
        self._confirm = confirm
        self._known = {flag: (value, 0) for flag, value in defaults.items()}
        self._next = 0.0
        self.failures = 0

    def get(self, flag: str) -> str:
        """Its value; raises KeyError for a flag without a default."""
        return self._known[flag][0]

    def version(self, flag: str) -> int:
        return self._known[flag][1]

    def refresh(self) -> None:
        """To be called often, beside the requests: looks when it is time. While Redis does not answer the copy stays as it is."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        try:
            told = {_text(name): _text(value) for name, value in self._client.hgetall(self._key).items()}
        except TROUBLES:
            self.failures += 1
            return
        for flag, (_, version) in list(self._known.items()):
            newer = int(told.get(f"{flag}:version", 0))
            if newer > version:
                self._known[flag] = (told[flag], newer)

    def declare(self, flag: str, value: str, version: int) -> None:
        """What the owner of the flag says, with a version that grows. Raises redis.RedisError: then declare it again."""
        run(self._client, _DECLARE, [self._key], flag, value, version, confirm=self._confirm)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
