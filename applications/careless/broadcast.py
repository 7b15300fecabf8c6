"""PUBLISH and SUBSCRIBE: told to those who listen at that moment. What the failover of a node swallows, nobody hears of."""

from typing import Any

from applications.broadcast import Message
from applications.call import Client


class PubSubChannel:
    """The calls of `applications.broadcast.Channel`; a place means nothing here."""

    def __init__(self, client: Client, name: str, prefix: str = "broadcast") -> None:
        self._client = client
        self._channel = f"{prefix}:{{{name}}}"
        self._listening: Any = None

    def publish(self, number: str, body: str = "") -> None:
        self._client.publish(self._channel, f"{number} {body}")

    def after(self, place: str, count: int = 100) -> tuple[list[Message], str]:
        if self._listening is None:
            listening = self._client.pubsub(ignore_subscribe_messages=True)
            self._subscribe(listening)
            self._listening = listening
        found = []
        for _ in range(count):
            heard = self._next()
            if heard is None:
                break
            number, _, body = heard["data"].decode().partition(" ")
            found.append(Message(number, body))
        return found, place

    def _subscribe(self, listening: Any) -> None:
        listening.subscribe(self._channel)

    def _next(self) -> Any:
        return self._listening.get_message(timeout=0.0)


class ShardedPubSubChannel(PubSubChannel):
    """SPUBLISH and SSUBSCRIBE: the same within the shard of the channel, instead of on every node of a cluster."""

    def publish(self, number: str, body: str = "") -> None:
        self._client.spublish(self._channel, f"{number} {body}")

    def _subscribe(self, listening: Any) -> None:
        listening.ssubscribe(self._channel)

    def _next(self) -> Any:
        look = getattr(self._listening, "get_sharded_message", self._listening.get_message)
        return look(timeout=0.0)
