"""One request to Redis, confirmed by replicas where the caller needs it, on any topology.

`WAIT` speaks of the connection that it is sent on: on another one than its write (redis-py reconnects by itself) it answers at
once and proves nothing. So write and WAIT travel together, in one pipeline on one connection.

And it speaks of the last *write* of that connection. So a script that may be repeated, because nobody knows how it ended, writes
something also when all was done before; else the second WAIT would confirm what it has not looked at.
"""

import contextlib
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import redis
from redis.cluster import RedisCluster
from redis.crc import key_slot

Client = Any
"""redis.Redis or redis.cluster.RedisCluster."""
TROUBLES = (redis.RedisError, redis.exceptions.RedisClusterException)
"""What a request may end with. The second is no RedisError: redis-py raises it when no node of a cluster answers."""


@dataclass(frozen=True)
class Confirm:
    """So many replicas must have a write within so many milliseconds; less than the client's time-out. Only a wait for every
    replica that can be promoted is a promise that a failover loses nothing."""

    replicas: int
    within_ms: int = 300


class NotConfirmed(redis.RedisError):
    """The primary has the write, but fewer replicas than asked for confirmed it: nobody knows whether it will survive."""

    def __init__(self, confirmed: int, confirm: Confirm) -> None:
        super().__init__(f"confirmed by {confirmed} of {confirm.replicas} replicas within {confirm.within_ms} ms")


class NoCommonSlot(ValueError):
    """A step over several keys that no node of a cluster can take alone."""

    def __init__(self, keys: list[str]) -> None:
        slots = ", ".join(f"{key} in slot {key_slot(key.encode())}" for key in keys)
        super().__init__(
            f"a cluster takes several keys in one step only where they share a slot: {slots}; give all one {{hash tag}}"
        )


@dataclass(frozen=True)
class Script:
    """A Lua script. Sent by its digest; a server that does not know it (a new primary, one that restarted) gets its text."""

    text: str

    @cached_property
    def digest(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def call(client: Client, key: str, *command: Any, confirm: Confirm | None = None) -> Any:
    """The reply to a command that writes `key`. Raises redis.RedisError; NotConfirmed where replicas are missing."""
    node = client
    try:
        if confirm is None:
            return client.execute_command(*command)
        if isinstance(client, RedisCluster):
            node = client.get_redis_connection(client.get_node_from_key(key))  # type: ignore[no-untyped-call]
    except redis.exceptions.RedisClusterException as error:  # no RedisError, which callers wait for
        raise redis.ConnectionError(str(error)) from None
    pipeline = node.pipeline(transaction=False)
    pipeline.execute_command(*command)
    pipeline.execute_command("WAIT", confirm.replicas, confirm.within_ms)
    try:
        reply, confirmed = pipeline.execute(raise_on_error=False)
    except redis.ConnectionError:
        _look_again(client)
        raise
    if isinstance(reply, Exception):
        if isinstance(reply, redis.exceptions.MovedError | redis.exceptions.AskError | redis.exceptions.ClusterDownError):
            _look_again(client)
        raise reply
    if isinstance(confirmed, Exception):
        raise confirmed
    if confirmed < confirm.replicas:
        raise NotConfirmed(confirmed, confirm)
    return reply


def _look_again(client: Client) -> None:
    """Learn anew which node has which slots, as redis-py does by itself for single commands; not when nobody answers."""
    if isinstance(client, RedisCluster):
        with contextlib.suppress(redis.exceptions.RedisClusterException):
            client.nodes_manager.initialize()


def run(client: Client, script: Script, keys: list[str], *arguments: Any, confirm: Confirm | None = None) -> Any:
    """What the script returns; it runs on its server alone, and all `keys` carry one hash tag. Raises NoCommonSlot where they
    would have to and do not, before anything is sent."""
    if len(keys) > 1 and isinstance(client, RedisCluster) and len({key_slot(key.encode()) for key in keys}) > 1:
        raise NoCommonSlot(keys)
    rest = (len(keys), *keys, *arguments)
    try:
        return call(client, keys[0], "EVALSHA", script.digest, *rest, confirm=confirm)
    except redis.exceptions.NoScriptError:
        return call(client, keys[0], "EVAL", script.text, *rest, confirm=confirm)
