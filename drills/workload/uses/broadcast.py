"""Messages to everybody: publishers number them, every subscriber records what it hears.

join     subject channel: a subscriber begins
publish  subject channel, value the number, other the publisher
receive  subject channel, value the number, other the publisher; actor is the subscriber
"""

from typing import Any

import redis

from applications.broadcast import Channel
from applications.careless.broadcast import PubSubChannel, ShardedPubSubChannel
from drills.workload.uses.stage import Actor, Stage, Use

NAMES = 3
PUBLISHER_IN = 4


class BroadcastUse(Use):
    name = "broadcast"
    cut_off_actors = 2
    turns_per_second = 12
    audited_on_both_sides = True

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.places: dict[tuple[int, str], str] = {}

    def channel(self, client: Any, tag: str) -> Any:
        return Channel(client, tag, self.stage.confirm, prefix=self.stage.prefix)

    def wake(self, actor: Actor) -> Any:
        channels = {tag: self.channel(actor.client, tag) for tag in self.stage.tags[:NAMES]}
        for tag in () if self.publishes(actor) else channels:
            self.places.setdefault((actor.number, tag), "0")
            actor.event("join", tag, self.stage.now())
        return channels

    @staticmethod
    def publishes(actor: Actor) -> bool:
        return actor.number % PUBLISHER_IN == 0

    def turn(self, actor: Actor) -> None:
        actor.turns += 1
        if self.publishes(actor):
            tag = self.stage.tags[actor.turns % NAMES]
            number = f"{actor.number}-{actor.turns}"
            self.publish(actor, tag, number)
            return
        for tag in list(actor.state):
            self.listen(actor, tag)

    def publish(self, actor: Actor, tag: str, number: str) -> None:
        actor.surely("publish", tag, lambda: actor.state[tag].publish(number), actor.turns, actor.number)

    def listen(self, actor: Actor, tag: str) -> None:
        start = self.stage.now()
        try:
            self.hear(actor.number, actor.state[tag], tag)
        except redis.RedisError as error:
            actor.failed("listen", tag, start, error)
            self.after_error(actor, tag)

    def hear(self, subscriber: int, channel: Any, tag: str) -> None:
        """Take what is new on one channel; the place is kept outside the instance, so it outlives it. Raises redis.RedisError."""
        start = self.stage.now()
        messages, place = channel.after(self.places[subscriber, tag])
        for message in messages:
            publisher, _, number = message.number.partition("-")
            self.stage.record(subscriber, "receive", tag, start, self.stage.now(), int(number), int(publisher))
        self.places[subscriber, tag] = place

    def after_error(self, actor: Actor, tag: str) -> None:
        """The next look goes on by itself."""

    def audit(self, actor: Actor) -> None:
        """Every subscriber reads on to the end."""
        for subscriber, tag in list(self.places):
            channel = self.channel(actor.client, tag)
            before = None
            while before != (before := self.places[subscriber, tag]):
                self.hear(subscriber, channel, tag)


class PubSubUse(BroadcastUse):
    name = "broadcast-careless"

    def channel(self, client: Any, tag: str) -> Any:
        return PubSubChannel(client, tag, self.stage.prefix)

    def publish(self, actor: Actor, tag: str, number: str) -> None:
        start = self.stage.now()
        try:
            actor.state[tag].publish(number)
        except redis.RedisError as error:
            actor.failed("publish", tag, start, error, actor.turns, actor.number)
            self.after_error(actor, tag)
        else:
            actor.event("publish", tag, start, actor.turns, actor.number)

    def after_error(self, actor: Actor, tag: str) -> None:
        """Subscribe anew."""
        actor.state[tag] = self.channel(actor.client, tag)

    def audit(self, actor: Actor) -> None:
        """Nobody can read on."""


class ShardedPubSubUse(PubSubUse):
    name = "broadcast-sharded"

    def channel(self, client: Any, tag: str) -> Any:
        return ShardedPubSubChannel(client, tag, self.stage.prefix)


BROADCASTS: tuple[type[Use], ...] = (BroadcastUse, PubSubUse, ShardedPubSubUse)
