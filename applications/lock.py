"""A lock with an owner, an end and a fencing token.

No lock can keep its holder from being paused for longer than the lock lasts, and replication is asynchronous: a failover can
forget that somebody holds it. So the lock makes overlaps rare, and the fencing token makes them harmless: whatever the lock
protects takes part (`applications.fenced`) and refuses whoever holds an older token.

- The holder believes in its lock only until `deadline`, on its own monotonic clock, counted from before the request was sent.
- Tokens grow. A failover may forget the last ones; who is refused by the resource hands in the token that it met, and goes on
  above.
- A request whose end nobody knows is asked again by the same owner, who then finds itself in possession, and not locked out.
- With `confirm`, replicas have the lock before it is held: then a failover to one of them does not forget it.
- It ends at a moment of the server's clock. A new primary whose clock is ahead of the old one's by more than DRIFT of the time to
  live ends it too early.
"""

import secrets
import time
from dataclasses import dataclass

from applications.call import Client, Confirm, NotConfirmed, Script, run

DRIFT = 0.01
"""Share of the time to live by which clocks of client and server may differ in speed."""

_ACQUIRE = Script("""
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local token = redis.call('INCR', KEYS[2])
if token <= tonumber(ARGV[3]) then
    token = tonumber(ARGV[3]) + 1
    redis.call('SET', KEYS[2], token)
end
return token
""")
_RENEW = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")
_RELEASE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")


@dataclass(frozen=True)
class Tenure:
    """Possession of a lock: by whom, under which token, and until when the holder may believe in it (time.monotonic)."""

    owner: str
    token: int
    deadline: float

    def valid(self, now: float | None = None) -> bool:
        return (time.monotonic() if now is None else now) < self.deadline


class FencedLock:
    """One name; `name` becomes the hash tag of its keys. Each object is an owner of its own: do not share it between threads."""

    def __init__(
        self, client: Client, name: str, ttl_seconds: float, confirm: Confirm | None = None, prefix: str = "lock"
    ) -> None:
        self._client = client
        self._keys = [f"{prefix}:{{{name}}}", f"{prefix}:{{{name}}}:token"]
        self._ttl_ms = int(ttl_seconds * 1000)
        self._confirm = confirm
        self._owner = secrets.token_hex(8)
        self.least = 0
        """Tokens are above this one; set it to the token that the resource named when it refused."""

    def acquire(self) -> Tenure | None:
        """Try once; None when somebody else holds it or replicas do not confirm. Raises redis.RedisError: then try again with
        this same object, because the lock may be held already."""
        began = time.monotonic()
        try:
            token = run(self._client, _ACQUIRE, self._keys, self._owner, self._ttl_ms, self.least, confirm=self._confirm)
        except NotConfirmed:
            self.release()
            return None
        return Tenure(self._owner, token, self._deadline(began)) if token else None

    def renew(self, tenure: Tenure) -> Tenure | None:
        """The same possession for another time to live; None when it is over. Raises redis.RedisError: then `tenure` goes on
        until its deadline."""
        began = time.monotonic()
        kept = run(self._client, _RENEW, self._keys[:1], self._owner, self._ttl_ms, confirm=self._confirm)
        return Tenure(tenure.owner, tenure.token, self._deadline(began)) if kept else None

    def release(self) -> bool:
        """Give it back if it is still this owner's; whether it was. Never takes it from somebody else."""
        return bool(run(self._client, _RELEASE, self._keys[:1], self._owner))

    def _deadline(self, began: float) -> float:
        return began + self._ttl_ms / 1000 * (1 - DRIFT)
