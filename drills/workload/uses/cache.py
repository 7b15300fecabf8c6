"""Caches: instances read and change rows of an origin that is slow and now and then down; some ask for rows that do not exist.

write  subject key, value the new version; its end is the moment from which readers may expect it
read   subject key, value the version seen, other where it came from (SOURCES); fail: the origin was down and nothing cached
load   subject key: one request to the origin
tell   subject key: the cache could not be told of a change
final  subject key, value the version in the cache at the end, other the one of the origin
"""

import time
from typing import Any

import redis

from applications.cache import Cache
from applications.careless.cache import CarelessCache
from applications.origin import OriginDown
from drills.workload.uses.stage import Actor, Use

ROWS, ABSENT = 6, 3
SKEW_SECONDS = (0.0, 1.5, -1.5)
"""By how much the clocks of instances are wrong: more than an entry is fresh."""
FRESH_SECONDS, GRACE_SECONDS, ABSENT_SECONDS = 1.0, 1.0, 1.0
LOAD_SECONDS = 0.03
WRITE_ONE_IN, ABSENT_ONE_IN = 50, 4
DOWN_EVERY, DOWN_FROM = 10, 9
"""Of every ten seconds of the history, the origin is down in the last."""
SOURCES = ("cache", "stale", "origin", "local")
SECOND = 1_000_000_000


class Instance:
    """One instance with its cache; what it loads is recorded."""

    def __init__(self, use: "CacheUse", actor: Actor) -> None:
        self._actor = actor
        self.origin = use.stage.origin_of_rows()
        self.cache: Any = use.cache(actor, self.load)

    def load(self, key: str) -> tuple[int, str] | None:
        start = self._actor.stage.now()
        time.sleep(LOAD_SECONDS)
        down = start // SECOND % DOWN_EVERY >= DOWN_FROM and not self._actor.halt.is_set()
        self._actor.event("load", key, start, outcome="fail" if down else "ok", error="origin-down" if down else None)
        if down:
            raise OriginDown
        return self.origin.read(key)


class CacheUse(Use):
    name = "cache-aside"
    actors = 6
    turns_per_second = 15

    def cache(self, actor: Actor, load: Any) -> Any:
        times = {"fresh_seconds": FRESH_SECONDS, "grace_seconds": GRACE_SECONDS, "absent_seconds": ABSENT_SECONDS}
        skew = SKEW_SECONDS[actor.number % len(SKEW_SECONDS)]
        return Cache(actor.client, load, **times, prefix=self.stage.prefix, clock=lambda: time.time() + skew)

    def prepare(self, _client: Any) -> None:
        origin = self.stage.origin_of_rows()
        origin.create()
        for key in self.stage.tags[:ROWS]:
            origin.write(key, "first")

    def wake(self, actor: Actor) -> Instance:
        return Instance(self, actor)

    def turn(self, actor: Actor) -> None:
        key = actor.random.choice(self.stage.tags[:ROWS])
        if actor.chance(WRITE_ONE_IN):
            self.write(actor, key)
            return
        if actor.chance(ABSENT_ONE_IN):
            key = actor.random.choice(self.stage.tags[ROWS : ROWS + ABSENT])
        self.read(actor, key, "read")

    def write(self, actor: Actor, key: str) -> None:
        start = self.stage.now()
        version = actor.state.origin.write(key, f"by {actor.name}")
        actor.event("write", key, start, version)
        start = self.stage.now()
        try:
            self.tell(actor.state, key, version)
        except redis.RedisError as error:
            actor.failed("tell", key, start, error)

    def tell(self, instance: Instance, key: str, version: int) -> None:
        instance.cache.changed(key, version)

    def read(self, actor: Actor, key: str, verb: str, other: int | None = None) -> None:
        start = self.stage.now()
        try:
            found = actor.state.cache.get(key)
        except OriginDown:
            actor.event(verb, key, start, outcome="fail", error="origin-down")
        else:
            actor.event(verb, key, start, found.version, SOURCES.index(found.source) if other is None else other)

    def tidy(self, client: Any) -> int:
        self.stage.origin_of_rows().drop()
        return super().tidy(client)

    def audit(self, actor: Actor) -> None:
        """Once every entry has come to its end, cache and origin have to agree."""
        time.sleep(FRESH_SECONDS + GRACE_SECONDS)
        actor.halt.set()
        actor.state = Instance(self, actor)
        for key in self.stage.tags[:ROWS]:
            row = actor.state.origin.read(key)
            self.read(actor, key, "final", row[0] if row else 0)


class CarelessCacheUse(CacheUse):
    name = "cache-aside-careless"

    def cache(self, actor: Actor, load: Any) -> Any:
        return CarelessCache(actor.client, load, self.stage.prefix)

    def tell(self, instance: Instance, key: str, version: int) -> None:
        instance.cache.store(key, version, "changed")


CACHES: tuple[type[Use], ...] = (CacheUse, CarelessCacheUse)
