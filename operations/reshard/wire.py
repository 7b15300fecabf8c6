"""Connections that carry keys: replies stay bytes, because a key need not be text; and they take the shortest way."""

import functools
import socket
from typing import Any

from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.retry import Retry

from operations.connect import IDENTITY_PARAMETER, Link, Refused, Timeouts, endpoint, identity_problem
from operations.errors import NotOurs
from operations.inventory import Access, NodeEntry

KEY_TIMEOUTS = Timeouts(connect_seconds=2.0, command_seconds=30.0)
"""A server that moves a large key answers late."""
_CONNECTION: Any = Connection

LOOPBACK = "127.0.0.1"
DIRECT_SECONDS = 0.3
"""Longest try to reach a node without the proxy; elsewhere than on Linux its address leads nowhere."""

RawCommand = tuple[str | bytes | int, ...]


def nearest(node: NodeEntry) -> tuple[str, int]:
    """The node's own address where this machine reaches it, else the published port.

    A port that Docker publishes on the loopback is served by a proxy: through it, moving 200,000 small keys took 1.28 times as
    long (decision 0110).
    """
    host, port = endpoint(node)
    near = bool(node.host_port) and host == LOOPBACK and _is_reached(node.address, node.port)
    return (node.address, node.port) if near else (host, port)


@functools.cache
def _is_reached(address: str, port: int) -> bool:
    """Asked once: who does not answer now is talked to by the published port from then on."""
    try:
        with socket.create_connection((address, port), DIRECT_SECONDS):
            return True
    except OSError:
        return False


class KeyLink(Link):
    """A link whose replies are bytes, integers and lists of them; see `Link` for the rest."""

    def __init__(self, access: Access, node: NodeEntry, user: str = "admin", timeouts: Timeouts = KEY_TIMEOUTS) -> None:
        super().__init__(access, node, user, timeouts)
        host, port = nearest(node)
        self._connection = _CONNECTION(
            host=host,
            port=port,
            username=user,
            password=access.credentials.password(user),
            socket_connect_timeout=timeouts.connect_seconds,
            socket_timeout=timeouts.command_seconds,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
        )

    def raw(self, commands: list[RawCommand]) -> list[Any]:
        """The replies to commands sent at once; errors of single commands stand among them as Refused."""
        return list(self.ask_all(commands)) if commands else []  # type: ignore[arg-type]  # the encoder takes bytes too

    def ensure_ours(self) -> None:
        """As `Link.ensure_ours`, for replies in bytes."""
        if self._verified:
            return
        reply: Any = self.ask("CONFIG", "GET", IDENTITY_PARAMETER)
        title = reply[1].decode(errors="replace") if len(reply) > 1 else ""
        problem = identity_problem(self._stack, self.node, title)
        if problem:
            raise NotOurs(problem)
        self._verified = True


def worked(reply: Any) -> Any:
    """The reply, or the server's error raised."""
    if isinstance(reply, Refused):
        raise reply
    return reply
