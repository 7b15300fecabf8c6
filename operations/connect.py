"""Connections to single nodes, and the ready client of a whole topology, from the machine that runs Pulumi.

A `Link` is one connection with explicit time-outs that never tries anything twice. A `Fleet` asks all nodes at once and turns
failures into values. Before the first write on a connection the server's identity is checked: a published port may have been
taken by a stranger, and an address may have been reused (redis-facts, "a port was already taken by another server").
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.exceptions import AskError, MovedError
from redis.retry import Retry

from operations.errors import NotOurs, ToolkitError, Unreachable
from operations.inventory import Access, NodeEntry
from operations.parse import Reply, pairs

T = TypeVar("T")

Command = Sequence[str | int]

IDENTITY_PREFIX = "redis-topologies:"
IDENTITY_PARAMETER = "proc-title-template"
_CONNECTION: Any = Connection
"""redis-py's connection class carries no type hints."""

WIDTH = 64
"""Most nodes that are asked at the same time."""


@dataclass(frozen=True)
class Timeouts:
    """How long a node may take. A hung server accepts through the published port, so silence counts per command."""

    connect_seconds: float = 1.0
    command_seconds: float = 2.0


class Refused(ToolkitError):
    """A server answered a command with an error; the message is the server's own."""


def endpoint(node: NodeEntry) -> tuple[str, int]:
    """Where this machine reaches a node: its published port, or its own address when none is published."""
    return (node.host, node.host_port) if node.host_port else (node.address, node.port)


def identity(stack: str, node: str) -> str:
    """The mark that a node of this toolkit carries in its process title."""
    return f"{IDENTITY_PREFIX}{stack}/{node}"


def identity_problem(stack: str, node: NodeEntry, title: str) -> str | None:
    """Why the server with this process title template is not `node` of `stack`, or None when it is."""
    wanted = identity(stack, node.name)
    if wanted in title.split():
        return None
    mark = next((word for word in title.split() if word.startswith(IDENTITY_PREFIX)), None)
    what = f"it calls itself {mark.removeprefix(IDENTITY_PREFIX)}" if mark else "it is not marked as a node of this toolkit"
    host, port = endpoint(node)
    return (
        f"the server at {host}:{port} is not {node.name} of stack {stack}: {what}; nothing was written to it. "
        f"Stop what listens there, or give the stack another network.port_base, then run `make up STACK={stack}`"
    )


class Link:
    """One connection to one node, opened when first needed and again after a failure, never repeating a command."""

    def __init__(self, access: Access, node: NodeEntry, user: str = "admin", timeouts: Timeouts | None = None) -> None:
        self.node = node
        self._stack = access.inventory.stack
        self._user = user
        self._timeouts = timeouts or Timeouts()
        self._lock = threading.Lock()
        self._open = False
        self._verified = False
        host, port = endpoint(node)
        self._connection = _CONNECTION(
            host=host,
            port=port,
            username=user,
            password=access.credentials.password(user),
            socket_connect_timeout=self._timeouts.connect_seconds,
            socket_timeout=self._timeouts.command_seconds,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            decode_responses=True,
            encoding_errors="replace",
            driver_info=None,
        )

    def ask(self, *command: str | int) -> Reply:
        """The reply to one command; raises Refused with the server's error, Unreachable or NotOurs."""
        reply = self.ask_all([command])[0]
        if isinstance(reply, Refused):
            raise reply
        return reply

    def ask_all(self, commands: Sequence[Command]) -> list[Reply | Refused]:
        """The replies to several commands sent at once; errors of single commands stand among them as values."""
        if not self._lock.acquire(blocking=False):
            raise Unreachable(f"{self.node.name} has not answered an earlier command yet")
        try:
            return self._exchange(commands)
        finally:
            self._lock.release()

    def ensure_ours(self) -> None:
        """Check, once per connection, that this is the node it should be; raises NotOurs. Call before any write.

        A sentinel has no process title to ask for: that it knows the stack's own passwords is its identity.
        """
        if self._verified or self.node.is_sentinel:
            return
        title = pairs(self.ask("CONFIG", "GET", IDENTITY_PARAMETER)).get(IDENTITY_PARAMETER, "")
        problem = identity_problem(self._stack, self.node, str(title))
        if problem:
            raise NotOurs(problem)
        self._verified = True

    def close(self) -> None:
        """Drop the connection; the next command opens a new one."""
        self._open = False
        self._verified = False
        self._connection.disconnect()

    def _exchange(self, commands: Sequence[Command]) -> list[Reply | Refused]:
        try:
            if not self._open:  # a new session; `close` saw to it that whoever answers now has to prove itself again
                self._connection.connect()
                self._open = True
            self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
            return [self._read() for _ in commands]
        except redis.RedisError as error:
            self.close()
            raise self._explain(error) from None
        except BaseException:
            self.close()
            raise

    def _read(self) -> Reply | Refused:
        try:
            reply: Reply = self._connection.read_response()
        except AskError as error:  # redis-py takes the word that tells the two redirections apart off the message
            return Refused(f"{'MOVED' if isinstance(error, MovedError) else 'ASK'} {error}")
        except redis.ResponseError as error:
            return Refused(str(error))
        return reply

    def _explain(self, error: redis.RedisError) -> ToolkitError:
        host, port = endpoint(self.node)
        where = f"{self.node.name} at {host}:{port}"
        if isinstance(error, redis.TimeoutError):
            seconds = max(self._timeouts.connect_seconds, self._timeouts.command_seconds)
            return Unreachable(f"{where} did not answer within {seconds:g} s")
        if isinstance(error, redis.InvalidResponse):
            return NotOurs(f"{where} is no Redis server: {error}; stop what listens there")
        if isinstance(error, redis.AuthenticationError | redis.ResponseError) and "max number of clients" not in str(error):
            return NotOurs(
                f"{where} refuses user {self._user} with this stack's password ({error}): another server answers there, "
                f"or its users were changed; compare with `docker ps`, then run `make up STACK={self._stack}`"
            )
        if "refused" in str(error):
            return Unreachable(f"nothing listens for {where}; container {self.node.container} is not running")
        if "closed" in str(error) or "reset" in str(error):
            return Unreachable(f"{where} closed the connection; the server in {self.node.container} is not running")
        return Unreachable(f"{where} is not reachable: {error}")


class Fleet:
    """One link per node and a pool of threads to use them at the same time."""

    def __init__(
        self,
        access: Access,
        nodes: Iterable[NodeEntry] | None = None,
        user: str = "admin",
        timeouts: Timeouts | None = None,
    ) -> None:
        self.nodes = tuple(access.inventory.nodes if nodes is None else nodes)
        self.links = {node.name: Link(access, node, user, timeouts) for node in self.nodes}
        self._pool = ThreadPoolExecutor(min(WIDTH, max(1, len(self.nodes))), thread_name_prefix="node")

    def each(
        self, question: Callable[[Link], T], nodes: Iterable[str] | None = None, seconds: float = 5.0
    ) -> dict[str, T | ToolkitError]:
        """Put `question` to every node (or those named) at once; a failure or no answer in time becomes its value."""
        names = list(self.links) if nodes is None else list(nodes)
        jobs: dict[str, Future[T]] = {name: self._pool.submit(question, self.links[name]) for name in names}
        wait(jobs.values(), timeout=seconds)
        outcomes: dict[str, T | ToolkitError] = {}
        for name, job in jobs.items():
            if not job.done():
                job.cancel()
                outcomes[name] = Unreachable(f"{name} did not answer within {seconds:g} s")
                continue
            try:
                outcomes[name] = job.result()
            except ToolkitError as error:
                outcomes[name] = error
        return outcomes

    def close(self) -> None:
        """Drop all connections; threads that still wait end with their time-outs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for link in self.links.values():
            link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def node_client(
    access: Access, node: NodeEntry, user: str = "admin", timeouts: Timeouts | None = None, **options: Any
) -> redis.Redis:
    """A redis-py client of one node, without retries; `options` go to redis-py, for example `decode_responses=True`."""
    host, port = endpoint(node)
    limits = timeouts or Timeouts()
    settings: dict[str, Any] = {
        "socket_connect_timeout": limits.connect_seconds,
        "socket_timeout": limits.command_seconds,
        "retry": Retry(NoBackoff(), 0),
        **options,
    }
    return redis.Redis(host=host, port=port, username=user, password=access.credentials.password(user), **settings)
