"""Time series: sensors measure, crash after a measurement was sent, and send the last one again when they come back.

add    subject sensor, value the measurement, which is also its moment in milliseconds
point  subject sensor, value the measurement, as found at the end
"""

from typing import Any

from applications.careless.series import CarelessSeries
from applications.series import Series
from drills.workload.uses.stage import CUT_OFF_ACTORS, Actor, Crashed, Stage, Use

MILLISECOND = 1_000_000
AGAIN_EVERY = 15
FAR = 1 << 52


class SeriesUse(Use):
    name = "time-series"
    cut_off_actors = 1
    turns_per_second = 10

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.last: dict[int, int] = {}

    def series(self, client: Any, number: int, tag: str) -> Any:
        return Series(client, tag, self.stage.confirm, prefix=f"{self.stage.prefix}:{number}")

    def wake(self, actor: Actor) -> Any:
        return self.series(actor.client, actor.number, self.stage.tags[actor.number % len(self.stage.tags)])

    def turn(self, actor: Actor) -> None:
        """One that comes back sends its last measurement again, because it does not know."""
        actor.turns += 1
        again = actor.turns % AGAIN_EVERY == 0 and actor.number in self.last
        moment = self.last[actor.number] if again else max(self.stage.now() // MILLISECOND, 1)
        self.last[actor.number] = moment
        actor.surely("add", str(actor.number), lambda: actor.state.add(moment, moment), moment)
        if actor.turns % AGAIN_EVERY == AGAIN_EVERY - 1:
            raise Crashed

    def audit(self, actor: Actor) -> None:
        """Sensors that are cut off use other tags than those on this side."""
        for number in (*range(self.actors), *range(CUT_OFF_ACTORS, CUT_OFF_ACTORS + self.cut_off_actors)):
            for tag in set(self.stage.tags):
                for point in self.series(actor.client, number, tag).between(0, FAR):
                    actor.event("point", str(number), self.stage.now(), int(point.value))


class CarelessSeriesUse(SeriesUse):
    name = "time-series-careless"

    def series(self, client: Any, number: int, tag: str) -> Any:
        return CarelessSeries(client, tag, f"{self.stage.prefix}:{number}")


SERIES: tuple[type[Use], ...] = (SeriesUse, CarelessSeriesUse)
