"""Which node a request went to, whether it was sent at all, and what its end means.

redis-py hides this, and "certainly not done" and "nobody knows" are told apart by it. So the method through which every request
passes is wrapped, in the client process only. It runs once per request: what it costs is taken from what the clients can reach.
"""

import re
import threading
from typing import Any, Literal

import redis
from redis.connection import AbstractConnection

Outcome = Literal["ok", "fail", "info"]

REFUSALS = (redis.ResponseError, redis.BusyLoadingError, redis.AuthenticationError, redis.exceptions.AuthorizationError)
"""Answers of a server that did nothing; redis-py counts the last three as troubles of the connection."""
WATCHED = frozenset({"XADD", "XREVRANGE", "XRANGE"})
ACKNOWLEDGING = frozenset({"WAIT", "WAITAOF"})


class Asked:
    """The request of one thread: the connection that it was last sent on, and how often it was sent.

    `same_connection` tells that WAIT went out on the connection of its write; on another one it would prove nothing.
    """

    __slots__ = ("connection", "same_connection", "sends")

    def __init__(self) -> None:
        self.connection: Any = None
        self.sends = 0
        self.same_connection = False

    def begin(self) -> None:
        """A new request starts."""
        self.connection = None
        self.sends = 0

    @property
    def where(self) -> tuple[str, int] | None:
        """The node that was asked last; None when nothing was sent."""
        return None if self.connection is None else (self.connection.host, self.connection.port)


class _Local(threading.local):
    def __init__(self) -> None:
        self.asked = Asked()


_local = _Local()


def this_thread() -> Asked:
    """What this thread asked last."""
    return _local.asked


def instrument() -> None:
    """Wrap redis-py's connections; once per process."""
    plain: Any = AbstractConnection.send_command
    patched: Any = AbstractConnection

    def send_command(self: Any, *args: Any, **kwargs: Any) -> Any:
        word = args[0]
        if word in WATCHED:
            asked = _local.asked
            asked.connection = self
            asked.sends += 1
        elif word in ACKNOWLEDGING:
            _local.asked.same_connection = _local.asked.connection is self
        return plain(self, *args, **kwargs)

    patched.send_command = send_command


_WORD = re.compile(r"[^a-z0-9.:/-]+")
_TEXTS = (
    ("no master found", "no-primary"),
    ("previous master is now a slave", "readonly"),
    ("smaller than the target stream", "order"),
    ("not covered", "slot-not-covered"),
    ("cannot be connected", "no-node"),
    ("refused", "refused"),
    ("no route", "unreachable"),
    ("unreachable", "unreachable"),
    ("reset", "reset"),
    ("broken pipe", "reset"),
    ("closed", "closed"),
    ("timeout", "timeout"),
    ("timed out", "timeout"),
)


def error_word(error: BaseException) -> str:
    """One plain word for an error: the server's own first word in small letters, or what happened to the connection."""
    text = str(error)
    lowered = text.lower()
    for part, word in _TEXTS:
        if part in lowered:
            return word
    if isinstance(error, redis.TimeoutError):
        return "timeout"
    first = text.split(" ", 1)[0]
    word = first if isinstance(error, redis.ResponseError) and first.isupper() else _NAMES.get(type(error), type(error).__name__)
    return _WORD.sub("-", word.lower())[:40] or "error"


_NAMES: dict[type, str] = {
    redis.ReadOnlyError: "readonly",
    redis.BusyLoadingError: "loading",
    redis.AuthenticationError: "auth",
    redis.OutOfMemoryError: "oom",
    redis.exceptions.ClusterDownError: "clusterdown",
    redis.exceptions.MasterDownError: "masterdown",
    redis.exceptions.MovedError: "moved",
    redis.exceptions.AskError: "ask",
    redis.exceptions.TryAgainError: "tryagain",
    redis.exceptions.NoPermissionError: "noperm",
}


def classify(error: BaseException, sends: int, retries: int) -> tuple[Outcome, str]:
    """What a failed request means, after it was sent `sends` times by a client that may try again `retries` times.

    Certainly not done is what was never sent, and what a server refused; everything else nobody knows. redis-py can meet a second
    error while it handles the first (it asks other nodes for their addresses), so the first one counts. Without retries a request
    is only sent again after a redirection, which is a refusal; with retries, an earlier attempt may have been done.
    """
    first = error
    while first.__context__ is not None:
        first = first.__context__
    if sends == 0:
        return "fail", error_word(first)
    refused = isinstance(first, REFUSALS) and (sends == 1 or retries == 0)
    return ("fail" if refused else "info"), error_word(first)
