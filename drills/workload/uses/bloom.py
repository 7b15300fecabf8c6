"""A Bloom filter before a database: rows come into being, readers ask for them and for others that never were.

row     subject row: it exists from the end of this event on
denied  subject row, value 1: "certainly not there" for a row that somebody asked for; 0: let through
other   subject row that never was, value 1: kept away, 0: let through
final   subject row, value as for denied, at the end
info: Redis did not answer, so it was let through
"""

import time
from typing import Any

import redis

from applications.bloom import Bloom
from applications.careless.bloom import CarelessBloom
from drills.workload.uses.stage import Actor, Stage, Use

REBUILD_SECONDS = 2.0
"""So long after a fault at most something may be denied: by then all rows were added again."""
NAMES = 3
EXPECTED = 1_000
RECENT = 40
HALF = 0.5


class BloomUse(Use):
    """`rows` and the moment of the last rebuild by filter; a row lies in the filter that its number says."""

    name = "bloom"
    actors = 3
    cut_off_actors = 0
    turns_per_second = 12

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.rows: list[list[str]] = [[] for _ in range(NAMES)]
        self.rebuilt = [0.0] * NAMES

    def bloom(self, client: Any, tag: str) -> Bloom:
        return Bloom(client, tag, EXPECTED, confirm=self.stage.confirm, prefix=self.stage.prefix)

    def wake(self, actor: Actor) -> list[Bloom]:
        return [self.bloom(actor.client, tag) for tag in self.stage.tags[:NAMES]]

    def turn(self, actor: Actor) -> None:
        actor.turns += 1
        place = actor.turns % NAMES
        if actor.number == 0:
            self.own(actor, place)
        elif actor.random.random() < HALF and self.rows[place]:
            self.ask(actor, place, "denied", actor.random.choice(self.rows[place][-RECENT:]))
        else:
            self.ask(actor, place, "other", f"never-{actor.number}-{actor.turns}")

    def own(self, actor: Actor, place: int) -> None:
        """A new row: first in the filter, and there once that is known. Now and then all of them again."""
        bloom, rows = actor.state[place], self.rows[place]
        row, start = f"row-{actor.turns}", self.stage.now()
        try:
            if time.monotonic() - self.rebuilt[place] > REBUILD_SECONDS / 2:
                bloom.rebuild(rows)
                self.rebuilt[place] = time.monotonic()
            bloom.add(row)
        except redis.RedisError as error:
            actor.failed("row", row, start, error)
            return
        actor.event("row", row, start)
        rows.append(row)

    def ask(self, actor: Actor, place: int, verb: str, row: str) -> None:
        bloom, start = actor.state[place], self.stage.now()
        failures = bloom.failures
        denied = not bloom.may_have(row)
        actor.event(verb, row, start, int(denied), outcome="ok" if bloom.failures == failures else "info")

    def audit(self, actor: Actor) -> None:
        actor.state = self.wake(actor)
        for place, rows in enumerate(self.rows):
            actor.state[place].rebuild(rows)
            for row in rows:
                self.ask(actor, place, "final", row)


class CarelessBloomUse(BloomUse):
    name = "bloom-careless"

    def bloom(self, client: Any, tag: str) -> Bloom:
        return CarelessBloom(client, tag, EXPECTED, prefix=self.stage.prefix)


BLOOMS: tuple[type[Use], ...] = (BloomUse, CarelessBloomUse)
