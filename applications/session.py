"""Sessions with a sliding end: every use moves it, a logout is final.

Each step is one script, so a request that is still under way cannot bring a session back that was logged out meanwhile: it
changes what is there, or nothing. A mark of the logout keeps late starts of the same session out, too.
"""

from collections.abc import Mapping
from typing import Any

from applications.call import Client, Confirm, Script, run

_START = Script("""
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
""")
_USE = Script("""
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
if #ARGV > 1 then redis.call('HSET', KEYS[1], unpack(ARGV, 2)) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.call('HGETALL', KEYS[1])
""")
_LOGOUT = Script("""
redis.call('SET', KEYS[2], 1, 'PX', ARGV[1])
return redis.call('DEL', KEYS[1])
""")


class Sessions:
    """All sessions of an application; the session's name is the hash tag of its keys."""

    def __init__(self, client: Client, idle_seconds: float, confirm: Confirm | None = None, prefix: str = "session") -> None:
        self._client = client
        self._idle_ms = int(idle_seconds * 1000)
        self._confirm = confirm
        self._prefix = prefix

    def _keys(self, name: str) -> list[str]:
        return [f"{self._prefix}:{{{name}}}", f"{self._prefix}:{{{name}}}:out"]

    def start(self, name: str, fields: Mapping[str, str]) -> bool:
        """Begin a session; False when it was logged out already. Raises redis.RedisError: then start it again."""
        return bool(run(self._client, _START, self._keys(name), self._idle_ms, *_flat(fields), confirm=self._confirm))

    def use(self, name: str, fields: Mapping[str, str] | None = None) -> dict[str, str] | None:
        """Its fields, after changing some, and a new end; None when there is no such session. A change is confirmed, the new end
        alone is not. Raises redis.RedisError: then use it again."""
        confirm = self._confirm if fields else None
        found = run(self._client, _USE, self._keys(name)[:1], self._idle_ms, *_flat(fields or {}), confirm=confirm)
        if found is None:
            return None
        flat = [value.decode() if isinstance(value, bytes) else str(value) for value in found]
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def logout(self, name: str) -> None:
        """The end of a session. Raises redis.RedisError: then log it out again."""
        run(self._client, _LOGOUT, self._keys(name), self._idle_ms, confirm=self._confirm)


def _flat(fields: Mapping[str, str]) -> list[Any]:
    return [part for pair in fields.items() for part in pair]
