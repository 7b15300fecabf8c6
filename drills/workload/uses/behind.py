"""Writing behind: instances acknowledge rows that reach the origin later; writers and carriers crash.

write  subject row
final  subject row: it is in the origin at the end
left   value: so many could not be carried over
"""

import time
from typing import Any

from applications.behind import WriteBehind
from applications.careless.behind import BufferInProcess
from applications.origin import Origin
from drills.workload.uses.stage import Actor, Crashed, Use

NAMES = 3
IDLE_SECONDS = 1.0
CARRIER_IN = 2
CRASH_EVERY = 30
FLUSH_EVERY = 8
EMPTY_SECONDS = 20.0


class BehindUse(Use):
    name = "write-behind"

    def prepare(self, _client: Any) -> None:
        self.stage.origin_of_rows().create()

    def buffers(self, client: Any) -> list[WriteBehind]:
        return [WriteBehind(client, tag, self.stage.confirm, IDLE_SECONDS, self.stage.prefix) for tag in self.stage.tags[:NAMES]]

    def wake(self, actor: Actor) -> Any:
        return self.buffers(actor.client), self.stage.origin_of_rows()

    def turn(self, actor: Actor) -> None:
        actor.turns += 1
        buffers, origin = actor.state
        buffer = buffers[actor.turns % NAMES]
        if actor.number % CARRIER_IN == 1:
            while buffer.carry(f"{actor.name}-{actor.lives}", origin.apply) and not actor.halt.is_set():
                actor.taken += 1
                if actor.taken % CRASH_EVERY == 5:
                    raise Crashed
            return
        row = f"{actor.number}-{actor.turns}"
        actor.surely("write", row, lambda: buffer.write(row, 1, actor.name))
        if actor.turns % CRASH_EVERY == 5:
            raise Crashed

    def tidy(self, client: Any) -> int:
        self.stage.origin_of_rows().drop()
        return super().tidy(client)

    def audit(self, actor: Actor) -> None:
        origin = self.stage.origin_of_rows()
        for buffer in self.buffers(actor.client):
            deadline = time.monotonic() + EMPTY_SECONDS
            while buffer.left() and time.monotonic() < deadline:
                if not buffer.carry(actor.name, origin.apply):
                    time.sleep(0.1)
            if left := buffer.left():
                actor.event("left", "", self.stage.now(), left)
        self._tell_rows(actor, origin)

    def _tell_rows(self, actor: Actor, origin: Origin) -> None:
        for row in origin.all_keys():
            actor.event("final", row, self.stage.now())


class CarelessBehindUse(BehindUse):
    name = "write-behind-careless"

    def wake(self, _actor: Actor) -> Any:
        return BufferInProcess(), self.stage.origin_of_rows()

    def turn(self, actor: Actor) -> None:
        actor.turns += 1
        buffer, origin = actor.state
        row = f"{actor.number}-{actor.turns}"
        actor.surely("write", row, lambda: buffer.write(row, 1, actor.name))
        if actor.turns % CRASH_EVERY == 5:
            raise Crashed
        if actor.turns % FLUSH_EVERY == 0:
            buffer.flush(origin.apply)

    def audit(self, actor: Actor) -> None:
        self._tell_rows(actor, self.stage.origin_of_rows())


BEHIND: tuple[type[Use], ...] = (BehindUse, CarelessBehindUse)
