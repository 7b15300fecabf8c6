"""Visitors: instances count users, each of them many times.

visit    subject day, value user
about    subject day, value: what HyperLogLog answers at the end
exactly  subject day, value: bits at the end
"""

from typing import Any

from applications.careless.visits import CarelessVisits
from applications.visits import Visits
from drills.workload.uses.stage import Actor, Crashed, Use

NAMES = 3
USERS = 400
CRASH_EVERY = 40


class VisitsUse(Use):
    name = "visits"
    turns_per_second = 15

    def visits(self, client: Any, tag: str) -> Any:
        return Visits(client, tag, self.stage.confirm, self.stage.prefix)

    def wake(self, actor: Actor) -> Any:
        return [self.visits(actor.client, tag) for tag in self.stage.tags[:NAMES]]

    def turn(self, actor: Actor) -> None:
        actor.turns += 1
        place = actor.turns % NAMES
        user = actor.random.randrange(USERS)
        actor.surely("visit", self.stage.tags[place], lambda: actor.state[place].visit(user), user)
        if actor.turns % CRASH_EVERY == 0:
            raise Crashed

    def audit(self, actor: Actor) -> None:
        for tag in self.stage.tags[:NAMES]:
            visits = self.visits(actor.client, tag)
            actor.event("about", tag, self.stage.now(), visits.about())
            actor.event("exactly", tag, self.stage.now(), visits.exactly())


class CarelessVisitsUse(VisitsUse):
    name = "visits-careless"

    def visits(self, client: Any, tag: str) -> Any:
        return CarelessVisits(client, tag, self.stage.prefix)


VISITS: tuple[type[Use], ...] = (VisitsUse, CarelessVisitsUse)
