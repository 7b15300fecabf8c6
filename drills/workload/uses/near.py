"""A local tier: one owner changes some hot keys, everybody else reads them all the time.

set   subject key, value its version; its end is the moment from which readers may expect it
read  subject key, value the version seen, other LOCAL or ASKED
"""

import time
from typing import Any

import redis

from applications.careless.near import EndlessNear
from applications.near import Near, NearRows, NearSentinelPool
from drills.workload.uses.stage import Actor, Stage, Use

ASKED, LOCAL = 0, 1
NEAR_SECONDS = 1.0
"""The declared end of what an instance remembers, and so the bound in a fault."""
NAMES = 3
CHANGE_SECONDS = 1.0


class NearUse(Use):
    name = "near-cache"
    cut_off_actors = 0
    turns_per_second = 20

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.version = 0
        self.changed = 0.0

    def near(self) -> Near:
        return Near(NEAR_SECONDS)

    def wake(self, _actor: Actor) -> Any:
        """A client with a memory of its own; the stack's own settings else."""
        near = self.near()
        pool: dict[str, Any] = {} if self.stage.settings.client.way == "cluster" else {"connection_pool_class": NearSentinelPool}
        return near, NearRows(self.stage.connect(protocol=3, cache=near, **pool), near, self.stage.prefix)

    def turn(self, actor: Actor) -> None:
        if actor.number == 0:
            self.change(actor)
            return
        near, rows = actor.state
        tag = actor.random.choice(self.stage.tags[:NAMES])
        asked, start = near.asked, self.stage.now()
        try:
            raw = rows.get(tag)
        except redis.RedisError as error:
            actor.failed("read", tag, start, error)
            return
        actor.event("read", tag, start, int(raw or 0), ASKED if near.asked > asked else LOCAL)

    def change(self, actor: Actor) -> None:
        """The version grows with every attempt, so what a failover forgot is soon overtaken."""
        if time.monotonic() - self.changed < CHANGE_SECONDS:
            return
        self.version, self.changed = self.version + 1, time.monotonic()
        for tag in self.stage.tags[:NAMES]:
            start = self.stage.now()
            try:
                actor.state[1].set(tag, self.version)
            except redis.RedisError as error:
                actor.failed("set", tag, start, error, self.version)
            else:
                actor.event("set", tag, start, self.version)


class EndlessNearUse(NearUse):
    name = "near-cache-careless"

    def near(self) -> Near:
        return EndlessNear()


NEARS: tuple[type[Use], ...] = (NearUse, EndlessNearUse)
