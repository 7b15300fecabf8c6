"""Which node a request went to, whether it was sent at all, and what its end means.

redis-py hides this, and "certainly not done" and "nobody knows" are told apart by it. So the two methods through which every
request passes are wrapped, in the client process only.
"""

import re
import threading
from typing import Any, Literal

import redis
from redis.connection import AbstractConnection

Outcome = Literal["ok", "fail", "info"]

WATCHED = frozenset({"XADD", "XREVRANGE", "XRANGE"})
ACKNOWLEDGING = frozenset({"WAIT", "WAITAOF"})


class Asked(threading.local):
    """The request of this thread: `where` it went last, whether an answer may still be missing (`sent`), how often it was sent.

    `same_connection` tells that WAIT went out on the connection of its write; on another one it would prove nothing.
    """

    def __init__(self) -> None:
        self.where: tuple[str, int] | None = None
        self.connection: object | None = None
        self.written: object | None = None
        self.sent = False
        self.sends = 0
        self.same_connection = False

    def begin(self) -> None:
        """A new request starts."""
        self.where = None
        self.connection = None
        self.sent = False
        self.sends = 0


asked = Asked()


def instrument() -> None:
    """Wrap redis-py's connections; once per process."""
    plain_send: Any = AbstractConnection.send_command
    plain_read: Any = AbstractConnection.read_response

    def send_command(self: Any, *args: Any, **kwargs: Any) -> Any:
        word = args[0]
        if word in WATCHED:
            asked.where = (self.host, self.port)
            asked.connection = asked.written = self
            asked.sent = True
            asked.sends += 1
        elif word in ACKNOWLEDGING:
            asked.same_connection = asked.written is self
        else:  # housekeeping of the client: its answers say nothing about the request
            asked.connection = None
        return plain_send(self, *args, **kwargs)

    def read_response(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return plain_read(self, *args, **kwargs)
        except redis.ResponseError:
            if asked.connection is self:  # refused by a server: certainly not done there
                asked.sent = False
            raise

    patched: Any = AbstractConnection
    patched.send_command = send_command
    patched.read_response = read_response


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


def classify(error: BaseException, sent: bool, sends: int) -> tuple[Outcome, str]:
    """What a failed request means. `sent`: it left and no server refused it, so nobody knows whether it was done.

    A write that was sent more than once and was refused for its order may have been done by an earlier attempt.
    """
    word = error_word(error)
    if sent:
        return "info", word
    if sends > 1 and word == "order":
        return "info", word
    return "fail", word
