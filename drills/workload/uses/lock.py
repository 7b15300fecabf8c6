"""Locks: several instances change a number under a lock, are paused at bad moments, crash while they hold it, and come back.

hold   subject lock, value token            from the grant until the holder no longer believes in it
write  subject lock, value token, other the number that was read; fail: refused, an older token
renew  an extension; acquire: an attempt that failed, or whose end nobody knows
"""

import math
import time
from dataclasses import dataclass, field
from typing import Any

import redis

from applications.careless.library_lock import LibraryLock
from applications.careless.lock import CarelessLock
from applications.fenced import FencedCounter, StaleHolder
from applications.lock import FencedLock, Tenure
from drills.workload.uses.stage import Actor, Crashed, Use

TTL_SECONDS = 1.0
NAMES = 3
WORK_SECONDS = 0.03
PAUSE_SECONDS = 1.6 * TTL_SECONDS
"""A pause of the whole process, as garbage collection or a busy machine makes it: longer than the lock lasts."""
PAUSED_BEFORE, PAUSED_AFTER, EVERY = 1, 4, 20
"""Of every EVERY grants of an instance, these are paused before the holder looks at its deadline, and between look and change."""
LONG_ONE_IN = 20
CRASH_ONE_IN = 60
TORN_ONE_IN = 200


@dataclass
class Instance:
    """What an instance has: its way to the resource, how many grants it had, and by lock the token that refused it last."""

    resource: FencedCounter
    grants: int = -1
    least: dict[str, int] = field(default_factory=dict)

    def next_grant(self) -> int:
        self.grants += 1
        return self.grants % EVERY


class LockUse(Use):
    name = "lock"
    actors = 6

    def wake(self, _actor: Actor) -> Any:
        return Instance(FencedCounter(self.stage.shared / f"{self.stage.use}.sqlite"))

    def turn(self, actor: Actor) -> None:
        name = actor.random.choice(self.stage.tags[:NAMES])
        lock = self.lock(actor, name)
        tenure = self.acquire(actor, lock, name)
        if tenure is None:
            return
        start = self.stage.now()
        until = math.inf
        try:
            tenure = self.work(actor, lock, name, tenure)
            if actor.chance(CRASH_ONE_IN):
                raise Crashed
            until = time.monotonic()
            lock.release()
        finally:
            believed = min(tenure.deadline, until, time.monotonic())
            actor.event("hold", name, start, tenure.token, end=max(start, self.stage.moment(believed)))

    def lock(self, actor: Actor, name: str) -> Any:
        lock = FencedLock(actor.client, name, TTL_SECONDS, self.stage.confirm, f"{self.stage.prefix}:lock")
        lock.least = actor.state.least.get(name, 0)
        return lock

    def acquire(self, actor: Actor, lock: Any, name: str) -> Tenure | None:
        """Ask until the answer is known: an attempt whose end nobody knows may hold the lock."""
        while not actor.halt.is_set():
            start = self.stage.now()
            try:
                tenure: Tenure | None = lock.acquire()
                return tenure
            except redis.RedisError as error:
                actor.failed("acquire", name, start, error)
                actor.rest(0.1)
        return None

    def work(self, actor: Actor, lock: Any, name: str, tenure: Tenure) -> Tenure:
        """Read, think, write; now and then for longer than the lock lasts, with renewals; now and then paused at a bad moment."""
        grant, resource = actor.state.next_grant(), actor.state.resource
        start = self.stage.now()
        number = -1
        try:
            number = resource.read(name, tenure)
            actor.rest(WORK_SECONDS * actor.random.random())
            if actor.chance(LONG_ONE_IN):
                tenure = self.renewed(actor, lock, tenure)
            if grant == PAUSED_BEFORE:
                time.sleep(PAUSE_SECONDS)
            if not tenure.valid():
                return tenure
            if grant == PAUSED_AFTER:
                time.sleep(PAUSE_SECONDS)
            start = self.stage.now()
            resource.write(name, tenure, number + 1)
            actor.event("write", name, start, tenure.token, number)
        except StaleHolder as stale:
            actor.state.least[name] = stale.highest
            actor.event("write", name, start, tenure.token, number, outcome="fail", error="stale-token")
        return tenure

    def renewed(self, actor: Actor, lock: Any, tenure: Tenure) -> Tenure:
        """Work for longer than the lock lasts, asking for more time long before it ends."""
        for _ in range(4):
            actor.rest(TTL_SECONDS / 3)
            start = self.stage.now()
            try:
                kept = lock.renew(tenure)
            except redis.RedisError as error:
                actor.failed("renew", "", start, error)
                continue
            if kept is None:
                break
            tenure = kept
            actor.event("renew", "", start)
        return tenure


class _DyingClient:
    """A client whose process dies between SETNX and EXPIRE."""

    def __init__(self, client: Any) -> None:
        self.setnx = client.setnx

    def expire(self, *_: Any) -> None:
        raise Crashed


class CarelessLockUse(LockUse):
    name = "lock-careless"

    def lock(self, actor: Actor, name: str) -> Any:
        client = _DyingClient(actor.client) if actor.chance(TORN_ONE_IN) else actor.client
        return CarelessLock(client, name, TTL_SECONDS, f"{self.stage.prefix}:lock")

    def work(self, actor: Actor, _lock: Any, name: str, tenure: Tenure) -> Tenure:
        grant, resource = actor.state.next_grant(), actor.state.resource
        number = resource.read_unfenced(name)
        actor.rest(WORK_SECONDS * actor.random.random())
        if grant in (PAUSED_BEFORE, PAUSED_AFTER):
            time.sleep(PAUSE_SECONDS)
        start = self.stage.now()
        resource.write_unfenced(name, number + 1)
        actor.event("write", name, start, tenure.token, number)
        return tenure


class _Unfenced(FencedCounter):
    """A resource that trusts its callers."""

    def read(self, name: str, _tenure: Tenure) -> int:
        return self.read_unfenced(name)

    def write(self, name: str, _tenure: Tenure, number: int) -> None:
        self.write_unfenced(name, number)


class LibraryLockUse(LockUse):
    """Everything as with the careful one, but the resource has no token to tell a stale holder by."""

    name = "lock-redis-py"

    def lock(self, actor: Actor, name: str) -> Any:
        return LibraryLock(actor.client, name, TTL_SECONDS, f"{self.stage.prefix}:lock")

    def wake(self, _actor: Actor) -> Any:
        return Instance(_Unfenced(self.stage.shared / f"{self.stage.use}.sqlite"))


LOCKS: tuple[type[Use], ...] = (LockUse, CarelessLockUse, LibraryLockUse)
