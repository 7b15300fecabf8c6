"""Queues: producers put jobs in, workers crash before, during and after the work, and some jobs kill every worker.

put      subject job, value 1: it kills whoever takes it
process  subject job; value 1: by whoever empties the queue at the end
dead     subject job, found among the dead letters at the end
left     value: so many jobs could not be emptied
"""

import time
from typing import Any

from applications.careless.queue import ListQueue
from applications.queue import Job, StreamQueue
from drills.workload.uses.stage import Actor, Crashed, Use

NAMES = 3
IDLE_SECONDS = 1.0
WORK_SECONDS = 0.02
PRODUCER_IN = 3
POISON_EVERY, POISON_AT = 40, 7
CRASH_EVERY = 25
EMPTY_SECONDS = 20.0
POISON = "poison"


class QueueUse(Use):
    name = "queue"
    actors = 6
    turns_per_second = 12

    def queue(self, client: Any, tag: str) -> Any:
        return StreamQueue(client, tag, self.stage.confirm, IDLE_SECONDS, prefix=self.stage.prefix)

    def wake(self, actor: Actor) -> Any:
        return [self.queue(actor.client, tag) for tag in self.stage.tags[:NAMES]]

    def turn(self, actor: Actor) -> None:
        actor.turns += 1
        queue = actor.state[actor.turns % NAMES]
        if actor.number % PRODUCER_IN == 0:
            poison = actor.turns % POISON_EVERY == POISON_AT
            job = f"{actor.number}-{actor.turns}"
            actor.surely("put", job, lambda: queue.put(job, POISON if poison else "work"), int(poison))
        else:
            self.work(actor, queue)

    def work(self, actor: Actor, queue: Any) -> None:
        job = queue.take(f"{actor.name}-{actor.lives}")
        if job is None:
            return
        start = self.stage.now()
        if job.body == POISON:
            raise Crashed
        actor.taken += 1
        actor.rest(WORK_SECONDS * actor.random.random())
        if actor.taken % CRASH_EVERY == 3:
            raise Crashed
        actor.event("process", job.number, start)
        if actor.taken % CRASH_EVERY == 9:
            raise Crashed
        queue.done(job)

    def audit(self, actor: Actor) -> None:
        """Empty the queues: whatever is still there is processed now, or ends among the dead letters."""
        for tag in self.stage.tags[:NAMES]:
            queue = self.queue(actor.client, tag)
            deadline = time.monotonic() + EMPTY_SECONDS
            while queue.left() and time.monotonic() < deadline:
                self._empty(actor, queue)
                time.sleep(0.1)
            for number in queue.dead():
                actor.event("dead", number, self.stage.now())
            if left := queue.left():
                actor.event("left", "", self.stage.now(), left)

    def _empty(self, actor: Actor, queue: Any) -> None:
        while True:
            job: Job | None = queue.take(actor.name)
            if job is None:
                return
            if job.body != POISON:
                actor.event("process", job.number, self.stage.now(), 1)
                queue.done(job)


class CarelessQueueUse(QueueUse):
    name = "queue-careless"

    def queue(self, client: Any, tag: str) -> Any:
        return ListQueue(client, tag, self.stage.prefix)


QUEUES: tuple[type[Use], ...] = (QueueUse, CarelessQueueUse)
