"""A cache in front of a database that keeps the version of every row: bounded staleness, and no stampede.

- **Aside, through, around.** `get` reads through: a hit, or one load from the origin that everybody waits for. After a change
  of the origin `changed` writes around (the entry is gone), `store` writes through (the new value is there).
- **Staleness is bounded by `fresh_seconds + grace_seconds`** and the time of a load, whatever is lost: every entry has an end in
  Redis, and what is older than a version that Redis knows of is not stored. A reader that was slow cannot bring back an old value
  over an invalidation.
- **Stampede.** One instance fills a key at a time, across all processes (a lock beside the key); the others get the old value
  during its grace, or wait. Entries end with jitter, and are renewed a little early by chance, the sooner the longer a load
  takes (XFetch).
- **Penetration.** What the origin does not have is remembered, too, for `absent_seconds`.
- **Redis down.** `get` asks the origin, once per instance and key within `local_seconds`, and goes on with what it got.
- **Origin down.** During its grace an old value is better than none; and an origin that does not answer is asked again for a
  key after `down_seconds` alone, by one instance, or those who wait for it would keep it down.
"""

import contextlib
import math
import random
import secrets
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from applications.call import TROUBLES, Client, Script, run
from applications.origin import OriginDown

Loader = Callable[[str], tuple[int, str] | None]
"""From key to version and value, or None where the origin has no such row; may raise OriginDown."""
Source = Literal["cache", "stale", "origin", "local"]

MOST_LOCAL = 10_000
"""Rows that an instance remembers by itself while Redis is down; then it begins anew."""
FURTHEST = 37.0
"""No number between 0 and 1 that a computer draws has a logarithm beyond this."""

_VALUE, _ABSENT, _GONE = "value", "absent", "gone"
_STORE = Script("""
local held = redis.call('GET', KEYS[1])
if held and tonumber(string.match(held, '^(%d+) ')) > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
""")
_LET_GO = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], 'down', 'PX', ARGV[2])
return 1
""")


class Found(NamedTuple):
    """A value with its version; `value` None: there is no such row. `source` says where it came from."""

    version: int
    value: str | None
    source: Source


class _Entry(NamedTuple):
    """What Redis holds: `gone` marks an invalidation, which only keeps older versions out. Written as words with the value last,
    which costs a reader less than JSON."""

    version: int
    value: str | None
    fresh_until: float
    load_seconds: float
    gone: bool = False

    def text(self) -> str:
        kind = _GONE if self.gone else _ABSENT if self.value is None else _VALUE
        return f"{self.version} {self.fresh_until!r} {self.load_seconds!r} {kind} {self.value or ''}"

    @classmethod
    def of(cls, raw: Any) -> "_Entry | None":
        if raw is None:
            return None
        text = raw.decode() if isinstance(raw, bytes) else str(raw)
        version, fresh_until, load_seconds, kind, value = text.split(" ", 4)
        return cls(int(version), value if kind == _VALUE else None, float(fresh_until), float(load_seconds), kind == _GONE)


class Cache:
    """One instance's view of a cache; not for several threads. Until when an entry is fresh stands on the `clock` of the instance
    that stored it, and is compared with that of the one that reads: clocks that differ make it load sooner or later, never serve
    longer than the end in Redis."""

    def __init__(
        self, client: Client, load: Loader, fresh_seconds: float, grace_seconds: float = 0.0, absent_seconds: float = 1.0,
        local_seconds: float = 0.5, down_seconds: float = 0.5, fill_seconds: float = 5.0, jitter: float = 0.1,
        prefix: str = "cache", clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._client = client
        self._load = load
        self._fresh, self._grace, self._absent = fresh_seconds, grace_seconds, absent_seconds
        self._local_seconds, self._down_ms = local_seconds, int(down_seconds * 1000)
        self._fill_ms, self._jitter = int(fill_seconds * 1000), jitter
        self._prefix = prefix
        self._clock = clock
        self._chance = random.Random()  # noqa: S311 - spreads load
        self._local: dict[str, tuple[float, Found]] = {}

    def get(self, key: str) -> Found:
        """The value of a row. Raises OriginDown when it is not cached and the origin does not answer."""
        try:
            return self._get(key)
        except TROUBLES:
            return self._get_without_redis(key)

    def changed(self, key: str, version: int) -> None:
        """The origin has a new version: forget the old one. Raises redis.RedisError: then the old one is served until its end."""
        self._put(key, _Entry(version, None, 0.0, 0.0, gone=True))

    def store(self, key: str, version: int, value: str | None, load_seconds: float = 0.0) -> None:
        """What the origin has, unless Redis knows of something newer. Raises redis.RedisError."""
        fresh = (self._fresh if value is not None else self._absent) * (1 - self._jitter * self._chance.random())
        self._put(key, _Entry(version, value, self._clock() + fresh, load_seconds), fresh + self._grace)

    def _key(self, key: str) -> str:
        return f"{self._prefix}:{{{key}}}"

    def _put(self, key: str, entry: _Entry, seconds: float | None = None) -> None:
        ends = int((self._fresh + self._grace if seconds is None else seconds) * 1000)
        run(self._client, _STORE, [self._key(key)], entry.version, entry.text(), max(ends, 1))

    def _get(self, key: str) -> Found:
        deadline = time.monotonic() + self._fill_ms / 1000
        while True:
            entry = _Entry.of(self._client.get(self._key(key)))
            usable = entry is not None and not entry.gone
            if entry is not None and usable and not self._due(entry):
                return Found(entry.version, entry.value, "cache")
            owner = secrets.token_hex(8)
            fill = f"{self._key(key)}:fill"
            if self._client.set(fill, owner, nx=True, px=self._fill_ms):
                again_ms = 0
                try:
                    return self._fill(key)
                except OriginDown:
                    again_ms = self._down_ms
                    if entry is None or not usable:
                        raise
                    return Found(entry.version, entry.value, "stale")
                finally:
                    with contextlib.suppress(*TROUBLES):  # it ends by itself, and what was found is found
                        run(self._client, _LET_GO, [fill], owner, again_ms)
            if entry is not None and usable:
                return Found(entry.version, entry.value, "stale" if entry.fresh_until < self._clock() else "cache")
            if self._client.get(fill) in (b"down", "down"):
                raise OriginDown
            if time.monotonic() > deadline:
                return self._fill(key)
            time.sleep(0.01)

    def _due(self, entry: _Entry) -> bool:
        """Over, or near its end by chance: an exponential distribution as long as a load takes (Vattani et al., VLDB 2015)."""
        left = entry.fresh_until - self._clock()
        if left > entry.load_seconds * FURTHEST:
            return False
        return -entry.load_seconds * math.log(1 - self._chance.random()) >= left

    def _fill(self, key: str) -> Found:
        began = time.monotonic()
        found = self._ask_origin(key)
        try:
            self.store(key, found.version, found.value, time.monotonic() - began)
        except TROUBLES:  # Redis went away meanwhile, and the origin need not be asked again
            self._remember(key, found)
        return found

    def _get_without_redis(self, key: str) -> Found:
        """What this instance loaded a moment ago, else what the origin says now."""
        until, known = self._local.get(key, (0.0, Found(0, None, "local")))
        if time.monotonic() < until:
            return known
        found = self._ask_origin(key)
        self._remember(key, found)
        return found

    def _ask_origin(self, key: str) -> Found:
        loaded = self._load(key)
        version, value = loaded if loaded is not None else (0, None)
        return Found(version, value, "origin")

    def _remember(self, key: str, found: Found) -> None:
        if len(self._local) >= MOST_LOCAL:
            self._local.clear()
        self._local[key] = (time.monotonic() + self._local_seconds, found._replace(source="local"))
