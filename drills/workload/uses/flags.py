"""Feature flags: an owner changes them once per second, instances decide by them.

set  subject flag, value its version
use  subject flag, value the version by which it was decided; 0: unset
"""

import time
from typing import Any

import redis

from applications.careless.flags import CarelessFlags
from applications.flags import Flags
from drills.workload.uses.stage import Actor, Stage, Use

NAMES = 3
FLAG = "new-checkout"
EVERY_SECONDS = 0.3
CHANGE_SECONDS = 1.0


class FlagsUse(Use):
    name = "flags"
    cut_off_actors = 0

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.said: dict[str, int] = {}
        self.changed = 0.0
        self.version = 1

    def owner(self, client: Any, tag: str) -> Flags:
        return Flags(client, tag, {FLAG: "off"}, EVERY_SECONDS, self.stage.confirm, self.stage.prefix)

    def reader(self, client: Any, tag: str) -> Any:
        return self.owner(client, tag)

    def prepare(self, client: Any) -> None:
        for tag in self.stage.tags[:NAMES]:
            self.owner(client, tag).declare(FLAG, "on", self.version)

    def wake(self, actor: Actor) -> Any:
        make = self.owner if actor.number == 0 else self.reader
        found = [(tag, make(actor.client, tag)) for tag in self.stage.tags[:NAMES]]
        for _, flags in found if actor.number else []:
            self.first(flags)
        return found

    def first(self, flags: Any) -> None:
        """An instance answers no request before it has read the flags once; raises redis.RedisError until then."""
        flags.refresh()
        if not flags.version(FLAG):
            raise redis.ConnectionError("the flags are not there yet")

    def turn(self, actor: Actor) -> None:
        if actor.number == 0:
            self.declare(actor)
            return
        for tag, flags in actor.state:
            start = self.stage.now()
            self.decide(actor, tag, flags, start)

    def decide(self, actor: Actor, tag: str, flags: Any, start: int) -> None:
        flags.refresh()
        actor.event("use", tag, start, flags.version(FLAG))

    def declare(self, actor: Actor) -> None:
        """What is declared is said again at every turn; recorded is when it was acknowledged first."""
        if time.monotonic() - self.changed > CHANGE_SECONDS:
            self.version, self.changed = self.version + 1, time.monotonic()
        for tag, flags in actor.state:
            start = self.stage.now()
            try:
                flags.declare(FLAG, "on", self.version)
            except redis.RedisError as error:
                actor.failed("set", tag, start, error, self.version)
                continue
            if self.said.get(tag) != self.version:
                self.said[tag] = self.version
                actor.event("set", tag, start, self.version)


class CarelessFlagsUse(FlagsUse):
    name = "flags-careless"

    def reader(self, client: Any, tag: str) -> Any:
        return CarelessFlags(client, tag, self.stage.prefix)

    def first(self, flags: Any) -> None:
        """Nobody waits for the first answer."""

    def decide(self, actor: Actor, tag: str, flags: Any, start: int) -> None:
        actor.event("use", tag, start, flags.version(FLAG))


FLAGS: tuple[type[Use], ...] = (FlagsUse, CarelessFlagsUse)
