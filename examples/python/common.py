"""What every connection shares: where to connect, how long to wait, and when to try again."""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthorizationError, RedisClusterException
from redis.retry import Retry

T = TypeVar("T")

connection = json.loads(Path(os.environ.get("CONNECTION", "connection.json")).read_text())
# inside: in the stack's Docker network; host: on the machine where the nodes' ports are published
side = connection[os.environ.get("PLACE", "inside")]
timing = connection["timing"]

settings = {
    "username": connection["username"],
    "password": connection["password"],
    "decode_responses": True,
    "socket_connect_timeout": timing["connect_seconds"],
    "socket_timeout": timing["command_seconds"],
}
no_retry = Retry(NoBackoff(), 0)  # `patiently` alone decides what is tried again, and for how long

NOT_NOW = ("CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS", "READONLY", "TRYAGAIN")
"""What a server answers in the course of a failover; it has not done what it was asked."""


def reachable(host: str, port: int) -> tuple[str, int]:
    """Where this process reaches what a node calls itself: its published port when we are outside of the network."""
    mapped = side.get("address_remap", {}).get(f"{host}:{port}", f"{host}:{port}")
    outer, _, published = mapped.rpartition(":")
    return outer, int(published)


def patiently(call: Callable[[], T], seconds: float = timing["patience_seconds"]) -> T:
    """Do `call` until it succeeds, by default for as long as a failover may take; then raise its last error.

    It may be done twice: the answer that was lost may have been a yes.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except (redis.RedisError, RedisClusterException) as error:
            if not is_passing(error) or time.monotonic() >= deadline:
                raise
        time.sleep(random.uniform(0.05, 0.25))  # noqa: S311 - so that not all clients come back at the same moment


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed a moment later."""
    if isinstance(error, redis.AuthenticationError | AuthorizationError):
        return False
    if isinstance(error, redis.ResponseError):
        code = getattr(error, "status_code", None) or str(error).partition(" ")[0]
        return code in NOT_NOW
    return isinstance(error, redis.ConnectionError | redis.TimeoutError | RedisClusterException)
