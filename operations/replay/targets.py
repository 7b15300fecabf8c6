"""Where keys go: the present primaries of a stack, which slots they serve, and connections that pass ready commands on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from redis.crc import key_slot

from operations.connect import Fleet, Refused
from operations.errors import CheckFailed, ToolkitError
from operations.inventory import Access, NodeEntry
from operations.observe import look
from operations.parse import info_fields
from operations.replay.errors import Moved
from operations.reshard.live import live_of, require_whole
from operations.reshard.wire import KeyLink

MOVED_WORDS = ("MOVED", "ASK", "You can't write against", "Hash slot not served", "cluster is down", "MASTER is down", "TRYAGAIN")
"""Answers that say that another node is in charge now, or will be soon. redis-py takes the code of most off."""
REPLY_BYTES = 1 << 16


@dataclass(frozen=True)
class Route:
    """Primaries by name; `owners` maps slots to them, and is empty where there is only one."""

    primaries: tuple[str, ...]
    owners: Mapping[int, str] = field(default_factory=dict)

    def of(self, key: bytes) -> str:
        """The name of the primary that a key belongs to."""
        return self.owners[key_slot(key)] if self.owners else self.primaries[0]


def find_route(access: Access) -> Route:
    """Ask the stack; raises Unreachable or CheckFailed unless every slot, or the one primary, is served."""
    inventory = access.inventory
    with Fleet(access, inventory.data_nodes) as fleet:
        seen = look(fleet, inventory)
    if inventory.topology == "cluster":
        live = live_of(seen, inventory)
        require_whole(live)
        return Route(tuple(name for name in live.primaries if live.slots_of(name)), dict(live.owners))
    primaries = tuple(node.name for node in seen.nodes if node.is_primary and not node.is_unplaced)
    if len(primaries) != 1:
        raise CheckFailed(
            f"stack {inventory.stack} has {len(primaries)} primaries that answer ({', '.join(primaries) or 'none'}) and needs "
            "one; look with scripts/status.py"
        )
    return Route(primaries)


class Feed(KeyLink):
    """A connection to a primary that takes commands which are ready for the wire; answers are taken in later."""

    def __init__(self, access: Access, node: NodeEntry) -> None:
        super().__init__(access, node)
        self._waiting = 0
        self._database = 0

    def select(self, database: int) -> None:
        """Change to another database of the server."""
        self.settle()
        if database != self._database:
            self.ask("SELECT", database)
            self._database = database

    def push(self, commands: bytes, count: int) -> None:
        """Send commands after the answers to earlier ones were taken in."""
        self.settle()
        if not count:
            return
        try:
            self._connection.send_packed_command([commands], check_health=False)
        except Exception as error:
            self._lost(error)
        self._waiting = count

    def settle(self) -> None:
        """Take in what the server answered. Raises Moved when it is not in charge any more, CheckFailed for other refusals.

        Each of the commands is answered by one line, so lines are counted: redis-py would take as long as the servers themselves.
        """
        problem: Refused | None = None
        rest = b""
        try:
            while self._waiting:
                data = self._connection._sock.recv(REPLY_BYTES)
                if not data:
                    raise ConnectionError("it closed the connection")
                *lines, rest = (rest + data).split(b"\r\n")
                self._waiting -= len(lines)
                refused = (Refused(line[1:].decode(errors="replace")) for line in lines if line.startswith(b"-"))
                problem = problem or next(refused, None)
        except Exception as error:
            self._lost(error)
        if problem is not None:
            raise self.refusal(problem)

    def refusal(self, problem: Refused) -> ToolkitError:
        """What a refusal of the server means for the replay."""
        words = str(problem)
        if any(word in words for word in MOVED_WORDS):
            return Moved(f"{self.node.name}: {words}")
        if "maxmemory" in words:
            return CheckFailed(f"{self.node.name} is full: {words}; raise memory.maxmemory of the target, then restore again")
        if "DUMP payload" in words:
            return CheckFailed(f"{self.node.name} cannot read what a newer engine wrote ({words}); use an engine as new as that")
        return CheckFailed(f"{self.node.name} refused a key: {words}")

    def info(self, section: str) -> dict[str, str]:
        answer: object = self.ask("INFO", section)
        return info_fields(answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer))

    def _lost(self, error: Exception) -> None:
        self._waiting = 0
        self.close()
        raise Moved(f"{self.node.name} is gone: {error}") from None


def open_feeds(access: Access, route: Route) -> dict[str, Feed]:
    """A connection to each primary, after each has shown that it is the stack's own."""
    feeds = {name: Feed(access, access.inventory.node(name)) for name in route.primaries}
    try:
        for feed in feeds.values():
            feed.ensure_ours()
    except BaseException:
        close_feeds(feeds)
        raise
    return feeds


def close_feeds(feeds: Mapping[str, Feed]) -> None:
    for feed in feeds.values():
        feed.close()
